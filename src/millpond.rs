use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::dead_letters::{DeadLetters, replacement};
use crate::error::{BoxError, Error};
use crate::events::Events;
use crate::inspect::{self, Cursor, JobFilter, JobInfo, Page, Why};
use crate::job::{JobId, NewJob, Priority};
use crate::metrics::MetricsSnapshot;
use crate::queue::Queue;
use crate::runtime::{Commit, Engine, Threads, shutdown, stop_now};
use crate::storage::{Verification, redb_types::ReadTransaction, verify};
use crate::time::Timestamp;
use crate::transaction::{Transaction, WriteGuard, check_outside};
use crate::worker::WorkerBuilder;
use crate::writer::{Lease, Leased, Patch, Transact, call, control};

/// The open store with its engine. Cheap to clone; all clones are the same queue.
///
/// [`shutdown`](Self::shutdown) stops it in order. When the last clone is dropped without that, it
/// stops at once: running jobs go back to where they were, no attempt used, and what was answered
/// stays durable. A handler that holds a clone keeps it alive, so shut down explicitly then.
///
/// ```no_run
/// use millpond::{Job, Kind, Millpond};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Welcome { email: String }
/// impl Kind for Welcome { const KIND: &'static str = "welcome"; }
///
/// # async fn example() -> Result<(), millpond::Error> {
/// let pond = Millpond::open("app.redb")?;
/// pond.worker("emails")
///     .handle(|job: Job<Welcome>| async move {
///         println!("welcome, {}", job.email);
///         Ok(())
///     })
///     .start()?;
/// let id = pond.enqueue("emails", Welcome { email: "ada@example.org".into() }).await?;
/// println!("job {id} is on the disk");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Millpond {
    handle: Arc<Handle>,
}

/// Stops the engine when the last clone is gone.
struct Handle {
    engine: Arc<Engine>,
    threads: Mutex<Option<Threads>>,
    /// A runtime of its own, if it was opened outside of any.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

impl Millpond {
    pub(crate) fn new(engine: Arc<Engine>, threads: Threads, runtime: Option<tokio::runtime::Runtime>) -> Self {
        let handle = Handle { engine, threads: Mutex::new(Some(threads)), runtime: Mutex::new(runtime) };
        Self { handle: Arc::new(handle) }
    }

    /// Opens the file at `path` with the default settings, or creates it.
    ///
    /// # Errors
    /// Those of [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Settings before opening.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    // --- producing ----------------------------------------------------------------------------

    /// Enqueues a job: a typed payload, or a [`NewJob`] with options. Answers its id after the
    /// commit; calls from many tasks share commits.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::PayloadTooLarge`], [`Error::Unencodable`],
    /// [`Error::QueueFull`]; [`Error::OutcomeUnknown`] if the commit failed in a way that leaves it
    /// open; [`Error::Degraded`], [`Error::Closed`].
    pub fn enqueue(&self, queue: &str, job: impl Into<NewJob>) -> Commit<JobId> {
        let ids = self.enqueue_all([(queue, job.into())]);
        Commit::new(async move { Ok(ids.await?[0]) })
    }

    /// Enqueues many jobs into one queue in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    pub fn enqueue_many<J: Into<NewJob>>(&self, queue: &str, jobs: impl IntoIterator<Item = J>) -> Commit<Vec<JobId>> {
        self.enqueue_all(jobs.into_iter().map(|job| (queue, job.into())))
    }

    /// Enqueues jobs into several queues in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    pub fn enqueue_all<Q: AsRef<str>>(&self, jobs: impl IntoIterator<Item = (Q, NewJob)>) -> Commit<Vec<JobId>> {
        let prepare = |(queue, job): (Q, NewJob)| self.engine().prepare.prepare(queue.as_ref(), job);
        self.engine().enqueue(jobs.into_iter().map(prepare).collect())
    }

    /// Runs `write` in the next commit: app rows and jobs are committed together or not at all.
    ///
    /// It runs on the writer's thread, in a batch with whatever else has gathered, so that many
    /// concurrent transactions share one fsync. If another closure of the batch fails, this one runs
    /// again: it must not have effects outside its [`Transaction`]. It must not block: the writer
    /// waits for it.
    ///
    /// # Errors
    /// [`Error::Aborted`] with what the closure returned, or its panic's message, as the source;
    /// storage errors.
    ///
    /// ```no_run
    /// # use millpond::{Kind, Millpond};
    /// # use redb::TableDefinition;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)] struct Welcome { email: String }
    /// # impl Kind for Welcome { const KIND: &'static str = "welcome"; }
    /// const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    ///
    /// # async fn example(pond: Millpond) -> Result<(), millpond::Error> {
    /// pond.transaction(|tx| {
    ///     tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    ///     tx.enqueue("emails", Welcome { email: "ada@example.org".into() })?;
    ///     Ok(())
    /// })
    /// .await?;
    /// # Ok(()) }
    /// ```
    pub fn transaction<T: Send + 'static>(
        &self,
        write: impl Fn(&Transaction<'_>) -> Result<T, BoxError> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.engine().clone();
        Commit::new(async move {
            let (reply, answer) = oneshot::channel();
            engine.submit(Transact::new(write, reply), 0).await?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    /// Begins a write transaction with a commit of its own. Blocks until it is this caller's turn,
    /// and everybody else until it ends; prefer [`transaction`](Self::transaction), which shares
    /// its fsync.
    ///
    /// # Errors
    /// [`Error::WouldDeadlock`] inside another transaction; storage errors.
    ///
    /// ```no_run
    /// # use millpond::{Millpond, NewJob};
    /// # use redb::TableDefinition;
    /// # const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    /// # fn example(pond: Millpond) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut tx = pond.begin_write()?;
    /// tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    /// tx.enqueue("emails", NewJob::json("welcome", &"ada@example.org"))?;
    /// tx.commit()?;
    /// # Ok(()) }
    /// ```
    pub fn begin_write(&self) -> Result<WriteGuard, Error> {
        check_outside()?;
        let (lease, lent) = Lease::new();
        self.engine().inbox.lease(lease)?;
        let (txn, next_id, back) = pollster::block_on(lent).map_err(|_| Error::Closed)??;
        let give_back = Box::new(move |ended: Option<_>| {
            let Some((txn, jobs)) = ended else {
                let _ = back.send(None);
                return Ok(());
            };
            let (answer, committed) = call(|_| Ok(()));
            let answer = answer.answered();
            back.send(Some(Leased { txn, jobs, answer })).map_err(|_| Error::Closed)?;
            pollster::block_on(committed).map_err(|_| Error::Closed)?
        });
        Ok(WriteGuard::new(txn, next_id, self.engine().prepare.clone(), give_back))
    }

    /// A snapshot of the file, to read the application's own tables. Do not keep it for long: while
    /// it lives the file cannot reuse what is written over.
    ///
    /// # Errors
    /// Storage errors, [`Error::Closed`].
    pub fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.engine().store.begin_read()
    }

    // --- running ------------------------------------------------------------------------------

    /// A worker for this queue, to be given handlers and limits and then started.
    pub fn worker(&self, queue: &str) -> WorkerBuilder {
        WorkerBuilder::new(self.engine().clone(), queue)
    }

    /// How many jobs run at a time in this process, from now on.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0.
    pub fn set_max_running(&self, jobs: usize) -> Result<(), Error> {
        if jobs == 0 {
            return Err(Error::config("max_running", "it must be at least 1".into()));
        }
        self.engine().scheduler().set_running_max(jobs);
        self.engine().wake_dispatcher();
        Ok(())
    }

    // --- steering -----------------------------------------------------------------------------

    /// The queue of this name. It need not exist yet.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn queue(&self, name: &str) -> Result<Queue, Error> {
        Ok(Queue::new(self.engine().clone(), self.engine().store.catalog.queue(name)?))
    }

    /// The queues that the file knows, by name.
    pub fn queues(&self) -> Vec<Queue> {
        let ids = self.engine().store.catalog.stored_queues();
        ids.into_iter().map(|id| Queue::new(self.engine().clone(), id)).collect()
    }

    /// Ends a waiting job as cancelled. False if it was cancelled already.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended otherwise.
    pub fn cancel(&self, id: JobId, reason: impl Into<String>) -> Commit<bool> {
        let reason = reason.into();
        self.engine().change_waiting(id, move |batch, taken| control::cancel(batch, id, &reason, taken))
    }

    /// Changes a waiting job.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended; what is wrong with the
    /// change.
    pub fn update(&self, id: JobId, patch: JobPatch) -> Commit<()> {
        let engine = self.engine().clone();
        Commit::new(async move {
            let payload = match patch.payload {
                Some(payload) => {
                    let info = inspect::find(&engine, id)?;
                    Some(replacement(&engine, &info.queue, &info.kind, payload)?)
                }
                None => None,
            };
            let patch = Patch { payload, priority: patch.priority, run_at: patch.run_at };
            engine.change_waiting(id, move |batch, taken| control::update(batch, id, &patch, taken)).await
        })
    }

    /// Makes a scheduled or retrying job due now.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended.
    pub fn run_now(&self, id: JobId) -> Commit<()> {
        self.update(id, JobPatch { run_at: Some(Timestamp::EPOCH), ..JobPatch::default() })
    }

    /// What failed for good.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine().clone())
    }

    // --- looking ------------------------------------------------------------------------------

    /// One job with its history.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    pub fn job(&self, id: JobId) -> Result<JobInfo, Error> {
        inspect::find(self.engine(), id)
    }

    /// Jobs that match, up to `limit` (at most 1,000), from `cursor` on. A page looks at 10,000 jobs
    /// at most: it may be short, or empty, and still have a next one.
    ///
    /// # Errors
    /// Storage errors.
    pub fn jobs(&self, filter: &JobFilter, cursor: Option<Cursor>, limit: usize) -> Result<Page, Error> {
        inspect::list(self.engine(), filter, cursor, limit)
    }

    /// Why a job is not running.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    pub fn explain(&self, id: JobId) -> Result<Why, Error> {
        inspect::explain(self.engine(), id)
    }

    /// Listens to what is committed from now on.
    pub fn events(&self) -> Events {
        self.engine().bus.listen()
    }

    /// What was counted since the queue was opened.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.engine().metrics.snapshot(self.engine().executor.runs.stuck())
    }

    /// Records in the file that could not be read and were set aside, since it was created.
    ///
    /// # Errors
    /// Storage errors.
    pub fn quarantined(&self) -> Result<u64, Error> {
        Ok(self.engine().store.reader()?.quarantined()?)
    }

    /// Why the writer has stopped, if an I/O error has stopped it.
    pub fn degraded(&self) -> Option<String> {
        self.engine().degraded()
    }

    /// Goes through the whole file and says what does not agree: records that cannot be read, jobs in
    /// two places, indexes that lead nowhere, wrong counts. The writer waits meanwhile.
    ///
    /// # Errors
    /// Storage errors.
    pub fn verify(&self) -> Commit<Verification> {
        let engine = self.engine().clone();
        Commit::new(async move {
            let (reply, answer) = oneshot::channel();
            let store = engine.store.clone();
            engine.inbox.between(move || {
                let result = store.reader().and_then(|reader| Ok(verify(&reader, &store.catalog)?));
                let _ = reply.send(result);
            })?;
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    // --- stopping -----------------------------------------------------------------------------

    /// Stops in order: nothing more starts; running jobs have until `deadline` to finish; then
    /// their contexts are cancelled; what still runs half a second later goes back to where it was,
    /// no attempt used. Returns when the file is closed. A second call waits for the first.
    ///
    /// Blocking handlers cannot be stopped from outside: one that does not return is left behind,
    /// and what it answers is void.
    ///
    /// # Errors
    /// None today.
    pub fn shutdown(&self, deadline: Duration) -> Commit<()> {
        let engine = self.engine().clone();
        Commit::new(async move {
            let runtime = engine.executor.runtime().clone();
            // On the runtime that has a timer, wherever this is awaited.
            let stopped = runtime.spawn(async move { shutdown(&engine, deadline).await });
            stopped.await.map_err(|_| Error::Closed)
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        stop_now(&self.engine);
        let threads = self.threads.get_mut().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(Threads { writer, dispatcher }) = threads {
            for thread in [writer, dispatcher] {
                // A hook or closure may hold the last clone: a thread cannot wait for itself.
                if thread.thread().id() != std::thread::current().id() {
                    let _ = thread.join();
                }
            }
        }
        if let Some(runtime) = self.runtime.get_mut().unwrap_or_else(|e| e.into_inner()).take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Millpond {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Millpond").field("closed", &self.engine().is_closed()).finish_non_exhaustive()
    }
}

/// What to change of a waiting job.
///
/// ```
/// use millpond::{JobPatch, Priority};
///
/// let urgent = JobPatch::new().priority(Priority::FIRST);
/// # let _ = urgent;
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct JobPatch {
    payload: Option<NewJob>,
    priority: Option<Priority>,
    run_at: Option<Timestamp>,
}

impl JobPatch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another payload, of the same kind. Options of a [`NewJob`] are ignored.
    pub fn payload(mut self, payload: impl Into<NewJob>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Another priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Another time. One in the past means now.
    pub fn run_at(mut self, at: SystemTime) -> Self {
        self.run_at = Some(at.into());
        self
    }
}
