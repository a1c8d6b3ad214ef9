//! What the engine does when it cannot do its work, and when it can again: the file cannot be written, the async runtime has
//! ended, a thread has panicked.

use std::sync::Arc;

use super::engine::Engine;
use crate::error::Error;
use crate::error::panics::Panic;
use crate::events::Event;
use crate::job::JobId;

/// What an operator reads when async handlers have lost their runtime.
const RUNTIME_ENDED: &str = "the async runtime in which the queue was opened has ended, and its async handlers cannot run any more: open the queue again in a runtime that lives as long as the queue, or give it one with `Builder::runtime`";

/// What dispatch must know after the file was opened again.
pub(super) struct FoundAgain {
    /// Suspects of a crash that are not where they were.
    suspects_gone: Vec<JobId>,
    all_paused: bool,
}

impl Engine {
    /// What keeps the queue from doing its work, if anything does.
    pub fn degraded(&self) -> Option<String> {
        match self.check_process() {
            Ok(()) => self.health.degraded(),
            Err(forked) => Some(forked.to_string()),
        }
    }

    /// # Errors
    /// [`Error::Degraded`] if nothing can be written for now.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.unwritable().map_or(Ok(()), |reason| Err(Error::Degraded { reason }))
    }

    /// Why nothing can be written for now, if nothing can.
    pub fn unwritable(&self) -> Option<String> {
        self.health.unwritable()
    }

    /// Why async handlers cannot run any more, if they cannot.
    pub fn runtime_ended(&self) -> Option<&'static str> {
        self.health.runtime_ended()
    }

    /// Notes that the async runtime that the application gave the queue, or opened it in, has ended. Workers that need it are
    /// stopped, because every attempt that they start would be lost at once. Everything else goes on.
    pub(super) fn note_runtime_ended(self: &Arc<Self>) {
        if self.is_stopping() || !self.health.set_runtime_ended(RUNTIME_ENDED) {
            return;
        }
        tracing::error!(reason = RUNTIME_ENDED, "degraded: async handlers cannot run any more");
        self.unbind_async_workers();
        self.bus.publish([Event::Degraded { reason: RUNTIME_ENDED.to_owned() }]);
    }

    /// A thread of the engine has panicked: nothing starts and every call that writes fails until the process opens the file
    /// again. Returns the reason, as callers are told it.
    pub(super) fn give_up(&self, thread: &str, panic: &Panic) -> String {
        let reason = format!("{thread} panicked: {}; close the file, check it and open it again", panic.text());
        tracing::error!(reason, "degraded for good");
        self.scheduler().suspend();
        self.health.give_up(reason.clone());
        self.bus.publish([Event::Degraded { reason: reason.clone() }]);
        self.moved.notify_waiters();
        reason
    }

    /// Reads what dispatch must know after the file was opened again.
    pub(super) fn find_again(&self) -> Result<FoundAgain, Error> {
        let all_paused = self.reader()?.are_all_paused()?;
        Ok(FoundAgain { suspects_gone: self.suspects_gone()?, all_paused })
    }

    fn suspects_gone(&self) -> Result<Vec<JobId>, Error> {
        let reader = self.store.reader()?;
        let mut gone = Vec::new();
        let suspects = self.scheduler().suspects();
        for (queue, job) in suspects {
            if !reader.is_unchanged_since_start(queue, &job)? {
                gone.push(job.id);
            }
        }
        Ok(gone)
    }

    /// The file can be written again: dispatch goes on, from what the file says.
    pub(super) fn resume(&self, found: &FoundAgain) {
        let catalog = &self.store.catalog;
        let queues = catalog.stored_queues().into_iter().map(|id| (id, catalog.row(id)));
        let (mut scheduler, now) = (self.scheduler(), self.now());
        scheduler.resume(queues.map(|(id, row)| (id, row.paused, row.steered)), &found.suspects_gone, now);
        scheduler.pause_all(found.all_paused);
        drop(scheduler);
        self.expiries.forget();
        self.schedule_times.forget();
        self.flow_times.forget();
        self.health.set_unwritable(None);
    }
}
