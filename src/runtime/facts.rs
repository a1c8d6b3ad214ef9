//! What the storage and the process say of themselves: sizes, costs of commits, slots and threads.

use std::path::Path;
use std::time::Duration;

use super::engine::Engine;
use crate::metrics::{CommitCosts, Used, Written};
use crate::time::Timestamp;

/// How many slots of the process are in use.
pub(crate) struct Slots {
    pub running: usize,
    pub running_max: usize,
    pub blocking: usize,
    pub threads_max: usize,
    pub stuck: usize,
}

impl Engine {
    /// The path of the file, if it was opened by its path.
    pub fn path(&self) -> Option<&Path> {
        self.store.path()
    }

    /// The size of the file. `None` for an attached database, and after the close.
    pub fn file_bytes(&self) -> Option<u64> {
        self.store.file_bytes()
    }

    /// The bytes of all jobs that have not ended, as of the last commit.
    pub fn waiting_bytes(&self) -> u64 {
        let catalog = &self.store.catalog;
        catalog.stored_queues().into_iter().map(|queue| catalog.row(queue).tally.bytes).sum()
    }

    /// How much of the file was in use when it was last looked through.
    pub fn used(&self) -> Option<Used> {
        self.metrics.used()
    }

    pub fn commit_costs(&self) -> CommitCosts {
        self.metrics.commit_costs()
    }

    /// What was handed to the storage backend. `None` for an attached database.
    pub fn written(&self) -> Option<Written> {
        self.store.written()
    }

    pub fn opened_at(&self) -> Timestamp {
        self.opened.wall
    }

    pub fn uptime(&self) -> Duration {
        self.now().mono.saturating_sub(self.opened.mono)
    }

    pub fn slots(&self) -> Slots {
        let stuck = self.executor.running.stuck();
        let scheduler = self.scheduler();
        let (running_max, threads_max) = scheduler.limits();
        Slots { running: scheduler.running(), running_max, blocking: scheduler.blocking(), threads_max, stuck }
    }
}
