//! What the nouns ask of the engine without writing: names, settings, counts, running attempts, snapshots.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::events::{EventBus, EventFilter, Events};
use crate::executor::Attempt;
use crate::job::{Coder, JobId, KindId, NewJob, QueueId, QueueSettings, Steered, StoredPayload, WorkerSettings};
use crate::metrics::MetricsSnapshot;
use crate::storage::{Fault, Found, NamesInUse, Prepared, PreparedEntry, Reader, Tally, redb_types::ReadTransaction};
use crate::sync::Tasks;
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

    /// The async runtime of the handlers.
    pub fn tasks(&self) -> &Tasks {
        self.executor.tasks()
    }

    /// Where events are published.
    pub fn bus(&self) -> Arc<EventBus> {
        self.bus.clone()
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

    /// What an operator has set for a queue, as of the last commit.
    pub fn steered(&self, queue: QueueId) -> Steered {
        self.store.catalog.row(queue).steered.map(|steered| (*steered).clone()).unwrap_or_default()
    }

    /// The limits that the queue's worker says.
    pub fn worker_settings(&self, queue: QueueId) -> Option<WorkerSettings> {
        self.scheduler().worker_settings(queue)
    }

    pub fn is_paused(&self, queue: QueueId) -> bool {
        self.store.catalog.row(queue).paused
    }

    /// The counts of a queue as of the last commit.
    pub fn tally(&self, queue: QueueId) -> Tally {
        self.store.catalog.row(queue).tally
    }

    /// Whether jobs of this queue were handed out whose ends are not durable yet.
    pub fn has_handed_out(&self, queue: QueueId) -> bool {
        self.scheduler().handed_out_in(queue) > 0
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

    /// Turns a payload that replaces the one of a job of this queue and kind into one that can be stored.
    pub fn prepare_payload(&self, queue: &str, kind: &str, payload: NewJob) -> Result<StoredPayload, Error> {
        self.prepare.prepare_payload(queue, kind, payload)
    }

    /// [`Self::prepare`] for many jobs of one queue.
    pub fn prepare_many(&self, queue: &str, jobs: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<Prepared>, Error> {
        self.prepare.prepare_many(queue, jobs)
    }

    /// The payload codec, which reads what is stored of jobs.
    pub fn prepare_entries(&self, entries: &mut dyn Iterator<Item = NewJob>) -> Result<Vec<PreparedEntry>, Error> {
        self.prepare.prepare_entries(entries)
    }

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

    /// How long the job has waited that has been ready for the longest time.
    pub fn oldest_ready_age(self: &Arc<Self>, queue: QueueId) -> Result<Option<Duration>, Error> {
        let taken = |id| self.scheduler().is_handed_out(id);
        let since = self.reader()?.oldest_ready(queue, taken).map_err(Error::from);
        let since = self.note_damage(since)?;
        Ok(since.map(|since| self.wall_now().since(since)))
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

    pub fn listen_where(&self, filter: Box<EventFilter>, with_attempts: bool) -> Events {
        self.bus.listen_where(filter, with_attempts)
    }

    pub fn metrics(&self) -> MetricsSnapshot {
        let (stuck, written) = (self.executor.running.stuck(), self.store.written().unwrap_or_default());
        self.metrics.snapshot(stuck, self.links.changes(), written)
    }
}
