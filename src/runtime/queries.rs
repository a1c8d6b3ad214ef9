//! What the nouns ask of the engine without writing: names, settings, counts, running attempts, snapshots.

use std::sync::Arc;

use super::engine::Engine;
use crate::error::Error;
use crate::events::{EventFilter, Events};
use crate::executor::Attempt;
use crate::job::{Coder, JobId, KindId, NewJob, QueueId, QueueSettings};
use crate::metrics::MetricsSnapshot;
use crate::storage::{Fault, Found, NamesInUse, Prepared, Reader, Tally, redb_types::ReadTransaction};
use crate::time::Timestamp;
use crate::transaction::Prepare;
use crate::writer::Lease;

impl Engine {
    // --- this process, this moment ------------------------------------------------------------------

    /// # Errors
    /// [`Error::Forked`] if this process was forked from the one that has opened the queue.
    pub fn check_process(&self) -> Result<(), Error> {
        self.store.check_process()
    }

    /// Whether this process was forked from the one that has opened the queue. A call that cannot return [`Error::Forked`]
    /// asks this before it takes a lock.
    pub fn is_forked(&self) -> bool {
        self.check_process().is_err()
    }

    /// Whether the engine has no threads, because a test drives it step by step.
    pub fn is_stepped(&self) -> bool {
        self.config.stepped
    }

    /// What the wall clock says.
    pub fn wall_now(&self) -> Timestamp {
        self.time.wall()
    }

    // --- names and queues ---------------------------------------------------------------------------

    /// The number of the queue of this name, if it has one.
    pub fn find_queue(&self, name: &str) -> Option<QueueId> {
        self.store.catalog.find_queue(name)
    }

    pub fn queue_name(&self, queue: QueueId) -> Arc<str> {
        self.store.catalog.queue_name(queue)
    }

    pub fn kind_name(&self, kind: KindId) -> Arc<str> {
        self.store.catalog.kind_name(kind)
    }

    /// The queues that the file has.
    pub fn stored_queues(&self) -> Vec<QueueId> {
        self.store.catalog.stored_queues()
    }

    pub fn settings(&self, queue: QueueId) -> QueueSettings {
        self.store.catalog.row(queue).settings
    }

    pub fn is_paused(&self, queue: QueueId) -> bool {
        self.store.catalog.row(queue).paused
    }

    /// The counts of a queue as of the last commit.
    pub fn tally(&self, queue: QueueId) -> Tally {
        self.store.catalog.row(queue).tally
    }

    /// Gives a queue its number, and keeps it in use for a worker.
    pub fn use_names(&self, queue: &str) -> Result<NamesInUse, Error> {
        NamesInUse::of_queue(&self.store.catalog, queue)
    }

    // --- jobs ---------------------------------------------------------------------------------------

    /// Turns a job into one that can be stored.
    pub fn prepare(&self, queue: &str, job: NewJob) -> Result<Prepared, Error> {
        self.prepare.prepare(queue, job)
    }

    /// [`Self::prepare`] for many jobs of one queue.
    pub fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        self.prepare.prepare_many(queue, jobs)
    }

    /// The payload codec, which reads what is stored of jobs.
    pub fn coder(&self) -> &Coder {
        self.prepare.coder()
    }

    /// Prepares jobs without the engine.
    pub fn preparer(&self) -> Arc<dyn Prepare> {
        self.prepare.clone()
    }

    /// Finds a job in a snapshot.
    pub fn find(&self, reader: &Reader, id: JobId) -> Result<Option<Found>, Fault> {
        reader.find(&self.store.catalog, id)
    }

    /// The job that holds this unique key of a queue now, in a snapshot.
    pub fn unique_holder(&self, reader: &Reader, queue: QueueId, key: &str) -> Result<Option<JobId>, Fault> {
        reader.unique_holder(self.time.now(), queue, key, |id| self.scheduler().is_handed_out(id))
    }

    /// The attempt of a job that is under way, if one is.
    pub fn running_attempt(&self, id: JobId) -> Option<Arc<Attempt>> {
        self.executor.running.get(id)
    }

    // --- the file -----------------------------------------------------------------------------------

    /// A snapshot of the queue's tables.
    pub fn reader(&self) -> Result<Reader, Error> {
        self.store.reader()
    }

    /// A snapshot of the application's tables.
    pub fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.store.begin_read()
    }

    /// Asks the writer for its transaction.
    pub fn lease(&self, lease: Lease) -> Result<(), Error> {
        self.to_writer.lease(lease)
    }

    // --- what happens -------------------------------------------------------------------------------

    pub fn listen(&self) -> Events {
        self.bus.listen()
    }

    pub fn listen_where(&self, filter: Box<EventFilter>) -> Events {
        self.bus.listen_where(filter)
    }

    pub fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot(self.executor.running.stuck())
    }
}
