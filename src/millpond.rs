//! The handle of an open queue: enqueueing, transactions, steering and reading jobs, and the stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::dead_letters::{DeadLetters, replacement};
use crate::error::{BoxError, Error};
use crate::events::{Event, Events};
use crate::inspect::{self, Cursor, Explanation, JobFilter, JobInfo, Page};
use crate::job::{CallSize, JobId, NewJob, Priority, REASON_BYTES_MAX, check_name};
use crate::metrics::MetricsSnapshot;
use crate::quarantine::Quarantine;
use crate::queue::Queue;
use crate::runtime::{Commit, Engine, back_up, beside, shutdown, stop_now, verify_beside, wait_for_the_close};
use crate::storage::{Backup, Verification, redb_types::ReadTransaction};
use crate::sync::block_on;
use crate::text::cut;
use crate::time::Timestamp;
use crate::transaction::{Transaction, WriteGuard, check_may_wait};
use crate::worker::WorkerBuilder;
use crate::writer::{Lease, Leased, Occupant, Patch, Transact, Transacted, call, control};

/// The open store with its engine. Cheap to clone; all clones are the same queue.
///
/// [`shutdown`](Self::shutdown) stops it in order. When the last clone is dropped without that, it
/// stops at once: running jobs go back to where they were, no attempt used, and what was answered
/// stays durable. A handler that holds a clone keeps it alive, so shut down explicitly then.
///
/// The last clone may be dropped anywhere. As a rule the drop waits until the file is closed, for 5 s at most, so that it
/// can be opened again. It does not wait where the queue may wait for the dropping thread, and the file is closed soon
/// after: inside a transaction's closure, beside a guard from [`begin_write`](Self::begin_write) on the same thread, and in
/// a callback on a thread of the queue's own. While such code runs on another thread the drop waits for 100 ms at most.
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
    /// A runtime of its own, if it was opened outside of any.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Millpond {
    pub(crate) fn new(engine: Arc<Engine>, runtime: Option<tokio::runtime::Runtime>) -> Self {
        Self { handle: Arc::new(Handle { engine, runtime }) }
    }

    /// Opens the file at `path` with the default settings, or creates it.
    ///
    /// # Errors
    /// Those of [`Builder::open`].
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.redb");
    /// let pond = Millpond::open(&path)?;
    /// assert!(matches!(Millpond::open(&path), Err(Error::AlreadyOpen { .. })));
    /// # Ok(()) }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// Settings before opening.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), Error> {
    /// let pond = Millpond::builder()
    ///     .max_running(64)
    ///     .events_buffer(4_096)
    ///     .open_backend(redb::backends::InMemoryBackend::new())?;
    /// # Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    // --- producing ----------------------------------------------------------------------------

    /// Enqueues a job: a typed payload, or a [`NewJob`] with options. Answers its id after the
    /// commit; calls from many tasks share commits. If another job holds its
    /// [unique key](NewJob::unique_key), nothing is stored and the answer is that one's id.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::InvalidKey`], [`Error::InvalidConfig`] for an option that cannot work,
    /// [`Error::PayloadTooLarge`], [`Error::Unencodable`], [`Error::QueueFull`];
    /// [`Error::OutcomeUnknown`] if the commit failed in a way that leaves it open, storage errors if
    /// it failed otherwise; [`Error::Degraded`], [`Error::Closed`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// let later = NewJob::new(Charge { order: 8 }).delay(Duration::from_secs(60));
    /// let later = pond.enqueue("billing", later).await?;
    ///
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// assert_eq!(pond.job(later)?.state, State::Scheduled);
    /// # Ok(()) }
    /// ```
    pub fn enqueue(&self, queue: &str, job: impl Into<NewJob>) -> Commit<JobId> {
        let ids = self.enqueue_all([(queue, job.into())]);
        Commit::new(async move { Ok(ids.await?[0]) })
    }

    /// Enqueues many jobs into one queue in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let ids = pond.enqueue_many("billing", (0..100).map(|order| Charge { order })).await?;
    /// assert_eq!(ids.len(), 100);
    ///
    /// let too_many = pond.enqueue_many("billing", (0..10_001).map(|order| Charge { order })).await;
    /// assert!(matches!(too_many, Err(Error::BatchTooLarge { jobs_max: 10_000, .. })));
    /// assert_eq!(pond.queue("billing")?.counts().pending, 100);
    /// # Ok(()) }
    /// ```
    pub fn enqueue_many<J: Into<NewJob>>(&self, queue: &str, jobs: impl IntoIterator<Item = J>) -> Commit<Vec<JobId>> {
        let jobs = self.engine().prepare.prepare_many(queue, &mut jobs.into_iter().map(Into::into));
        self.engine().enqueue(jobs)
    }

    /// Enqueues jobs into several queues in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let ids = pond
    ///     .enqueue_all([("billing", NewJob::json("charge", &7)), ("emails", NewJob::json("receipt", &7))])
    ///     .await?;
    /// assert_eq!(pond.job(ids[0])?.queue, "billing");
    /// assert_eq!(pond.job(ids[1])?.queue, "emails");
    /// # Ok(()) }
    /// ```
    pub fn enqueue_all<Q: AsRef<str>, J: Into<NewJob>>(
        &self,
        jobs: impl IntoIterator<Item = (Q, J)>,
    ) -> Commit<Vec<JobId>> {
        let mut size = CallSize::default();
        let prepare = |(queue, job): (Q, J)| {
            let job = self.engine().prepare.prepare(queue.as_ref(), job.into())?;
            size.add(job.bytes.len())?;
            Ok(job)
        };
        self.engine().enqueue(jobs.into_iter().map(prepare).collect())
    }

    /// Runs `write` in the next commit: app rows and jobs are committed together or not at all.
    ///
    /// It runs on the writer's thread (a lone caller's on its own, with `.wait()`), in a batch with
    /// whatever else has gathered, so that many concurrent transactions share one fsync. If it or another
    /// closure of the batch fails after it has written, it may run again, as a rule twice at most: it must not have effects
    /// outside its [`Transaction`]. It must not block: the writer waits for it. It is dropped on the caller's thread, with
    /// the answer.
    ///
    /// # Errors
    /// [`Error::Aborted`] with what the closure returned, or its panic's message, as the source;
    /// [`Error::WouldDeadlock`] where the queue waits for the caller; storage errors.
    ///
    /// ```
    /// # use millpond::{Kind, testing::{in_memory, ManualClock}};
    /// # use redb::TableDefinition;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Welcome { email: String }
    /// # impl Kind for Welcome { const KIND: &'static str = "welcome"; }
    /// const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.transaction(|tx| {
    ///     tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    ///     tx.enqueue("emails", Welcome { email: "ada@example.org".into() })?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.queue("emails")?.counts().pending, 1);
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
            let answered: Transacted<T, _> = answer.await.map_err(|_| engine.unanswered())?;
            answered.result
        })
    }

    /// Begins a write transaction with a commit of its own. Blocks until it is this caller's turn, and everybody else until
    /// it ends, for [`write_wait_max`](crate::Builder::write_wait_max) at most; prefer [`transaction`](Self::transaction), which shares
    /// its fsync.
    ///
    /// # Errors
    /// [`Error::WouldDeadlock`] inside another transaction or in a callback; [`Error::WriteHeld`] if another one has been
    /// held for longer than [`write_wait_max`](crate::Builder::write_wait_max); storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use redb::TableDefinition;
    /// # const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let mut tx = pond.begin_write()?;
    /// tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    /// let id = tx.enqueue("emails", NewJob::json("welcome", &"ada@example.org"))?;
    /// tx.commit()?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok(()) }
    /// ```
    pub fn begin_write(&self) -> Result<WriteGuard, Error> {
        check_may_wait()?;
        self.engine().store.check_process()?;
        let (lease, lent) = Lease::new();
        self.engine().to_writer.lease(lease)?;
        let (txn, now, next_id, back) = block_on(lent).map_err(|_| Error::Closed)??;
        let give_back = Box::new(move |ended: Option<_>| {
            let Some((txn, jobs)) = ended else {
                let _ = back.send(None);
                return Ok(());
            };
            let (answer, committed) = call(|_| Ok(()));
            let answer = answer.answered();
            back.send(Some(Leased { txn, jobs, answer })).map_err(|_| Error::Closed)?;
            block_on(committed).map_err(|_| Error::Closed)?
        });
        Ok(WriteGuard::new(txn, now, next_id, self.engine().prepare.clone(), give_back))
    }

    /// A snapshot of the file, to read the application's own tables. Do not keep it for long: while
    /// it lives the file cannot reuse what is written over.
    ///
    /// # Errors
    /// Storage errors, [`Error::Closed`].
    ///
    /// ```
    /// # use millpond::testing::{ManualClock, in_memory};
    /// use redb::TableDefinition;
    ///
    /// const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # pond.transaction(|tx| Ok(tx.open_table(USERS)?.insert(7, "ada@example.org").map(drop)?)).await?;
    /// let users = pond.begin_read()?.open_table(USERS)?;
    /// assert_eq!(users.get(7)?.unwrap().value(), "ada@example.org");
    /// # Ok(()) }
    /// ```
    pub fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.engine().store.begin_read()
    }

    // --- running ------------------------------------------------------------------------------

    /// A worker for this queue, to be given handlers and limits and then started.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .handle(|job: Job<Charge>| async move {
    ///         println!("charge order {}", job.order);
    ///         Ok(())
    ///     })
    ///     .start()?;
    ///
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) }
    /// ```
    pub fn worker(&self, queue: &str) -> WorkerBuilder {
        WorkerBuilder::new(self.engine().clone(), queue)
    }

    /// What the queue's clock says now: the system's time, or that of the clock that
    /// [`Builder::clock`](crate::Builder::clock) was given. Times of jobs, such as [`JobInfo::enqueued_at`], are of this clock.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), millpond::Error> {
    /// let clock = ManualClock::new();
    /// let pond = in_memory(&clock)?;
    /// let before = pond.now();
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(pond.now(), before + Duration::from_secs(1));
    /// # Ok(()) }
    /// ```
    pub fn now(&self) -> Timestamp {
        self.engine().time.wall()
    }

    /// How many jobs run at a time in this process, from now on. With fewer slots than running jobs,
    /// those finish.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0; [`Error::Forked`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.set_max_running(32)?;
    /// assert!(matches!(pond.set_max_running(0), Err(Error::InvalidConfig { field: "max_running", .. })));
    /// # Ok(()) }
    /// ```
    pub fn set_max_running(&self, jobs: usize) -> Result<(), Error> {
        if jobs == 0 {
            return Err(Error::config("max_running", "it must be at least 1".into()));
        }
        self.engine().store.check_process()?;
        self.engine().scheduler().set_running_max(jobs);
        self.engine().wake_dispatcher();
        Ok(())
    }

    // --- steering -----------------------------------------------------------------------------

    /// The queue of this name. It need not exist yet.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::InvalidConfig`] for one more than the 65,536 that a file can
    /// have.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let billing = pond.queue("billing")?;
    /// assert_eq!(billing.counts().unfinished(), 0);
    ///
    /// assert!(matches!(pond.queue("no spaces"), Err(Error::InvalidName { what: "queue", .. })));
    /// # Ok(()) }
    /// ```
    pub fn queue(&self, name: &str) -> Result<Queue, Error> {
        self.engine().store.check_process()?;
        check_name("queue", name)?;
        Ok(Queue::new(self.engine().clone(), name.into()))
    }

    /// The queues that the file knows, by name. None in a process that was forked from the one that has opened it.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.enqueue("emails", NewJob::json("receipt", &7)).await?;
    /// pond.queue("billing")?.pause().await?;
    ///
    /// let names: Vec<_> = pond.queues().iter().map(|queue| queue.name().to_owned()).collect();
    /// assert_eq!(names, ["billing", "emails"]);
    /// # Ok(()) }
    /// ```
    pub fn queues(&self) -> Vec<Queue> {
        if self.engine().is_forked() {
            return Vec::new();
        }
        let catalog = &self.engine().store.catalog;
        let names = catalog.stored_queues().into_iter().map(|id| catalog.queue_name(id));
        names.map(|name| Queue::new(self.engine().clone(), name)).collect()
    }

    /// Ends a waiting job as cancelled. False if it was cancelled already.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended otherwise.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// assert!(pond.cancel(id, "the order was withdrawn").await?);
    /// assert!(!pond.cancel(id, "again").await?);
    /// assert_eq!(pond.job(id)?.reason.as_deref(), Some("the order was withdrawn"));
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self, id: JobId, reason: impl Into<String>) -> Commit<bool> {
        let reason = cut(reason.into(), REASON_BYTES_MAX);
        self.engine().change_waiting(id, 0, move |batch, target| control::cancel(batch, target, &reason))
    }

    /// Changes a waiting job.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended; what is wrong with the
    /// change.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// pond.update(id, JobPatch::new().payload(Charge { order: 8 }).priority(Priority::FIRST)).await?;
    ///
    /// let job = pond.job(id)?;
    /// assert_eq!(job.payload.decode::<Charge>()?.order, 8);
    /// assert_eq!(job.priority, Priority::FIRST);
    /// # Ok(()) }
    /// ```
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
            let bytes = patch.payload.as_ref().map_or(0, |payload| payload.bytes.len());
            engine.change_waiting(id, bytes, move |batch, target| control::update(batch, target, &patch)).await
        })
    }

    /// Makes a scheduled or retrying job due now. One that is due already stays as it is.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let job = NewJob::json("charge", &7).delay(Duration::from_secs(3600));
    /// let id = pond.enqueue("billing", job).await?;
    ///
    /// pond.run_now(id).await?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok(()) }
    /// ```
    pub fn run_now(&self, id: JobId) -> Commit<()> {
        self.update(id, JobPatch { run_at: Some(Timestamp::EPOCH), ..JobPatch::default() })
    }

    /// What failed for good.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let dead = pond.dead_letters();
    /// assert_eq!(dead.count(&JobFilter::new().queue("billing"))?, 0);
    /// # Ok(()) }
    /// ```
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine().clone())
    }

    /// What could not be read and was set aside.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # let pond = in_memory(&ManualClock::new())?;
    /// for row in pond.quarantine().list(0, 100)? {
    ///     eprintln!("row {} from {}: {}", row.number, row.table, row.why);
    /// }
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.engine().clone())
    }

    // --- looking ------------------------------------------------------------------------------

    /// Runs `read` on a thread that may block, and answers what it returns: for async tasks, which must not wait for the disk.
    /// With [`wait`](Commit::wait) it runs on the caller's thread. A panic of `read` is passed on to the caller.
    ///
    /// These calls read the file and block their thread while they do: [`job`](Self::job), [`jobs`](Self::jobs),
    /// [`explain`](Self::explain), [`quarantined`](Self::quarantined), the lists and counts of [`DeadLetters`] and
    /// [`Quarantine`], and the state of a plugin. What is in the page cache takes microseconds; what is not takes one disk
    /// access or more, and a filter that matches little reads up to 64 MiB for a page. No other call blocks on the disk:
    /// those that return a [`Commit`] wait without a thread, and [`Queue::counts`], [`Queue::settings`],
    /// [`metrics`](Self::metrics) and [`degraded`](Self::degraded) read memory.
    /// [`begin_write`](Self::begin_write), [`begin_read`](Self::begin_read) and opening a file block as their own docs say.
    ///
    /// # Errors
    /// Those of `read`; [`Error::RuntimeEnded`] if the async runtime ends before `read` was begun.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// let (job, why) = pond.read(move |pond| Ok((pond.job(id)?, pond.explain(id)?))).await?;
    /// assert_eq!(job.state, State::Pending);
    /// assert_eq!(why.to_string(), r#"no worker of its queue handles kind "charge""#);
    /// # Ok(()) }
    /// ```
    pub fn read<T: Send + 'static>(&self, read: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static) -> Commit<T> {
        let pond = self.clone();
        beside(self.engine().clone(), move || read(&pond))
    }

    /// One job with its history.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).group("order-7")).await?;
    ///
    /// let job = pond.job(id)?;
    /// assert_eq!((job.queue.as_str(), job.kind.as_str()), ("billing", "charge"));
    /// assert_eq!(job.group.as_deref(), Some("order-7"));
    /// assert!(matches!(pond.job(JobId::new(999)), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) }
    /// ```
    pub fn job(&self, id: JobId) -> Result<JobInfo, Error> {
        inspect::find(self.engine(), id)
    }

    /// Jobs that match, up to `limit` (at least 1, at most 1,000), from `cursor` on. A page ends with the job that makes
    /// it 8 MiB, and looks at 10,000 jobs or 64 MiB of them at most: it may be short, or empty, and still have a next
    /// one.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # pond.enqueue_many("billing", (0..5).map(|order| Charge { order })).await?;
    /// let filter = JobFilter::new().queue("billing").state(State::Pending);
    /// let mut cursor = None;
    /// let mut seen = 0;
    /// loop {
    ///     let page = pond.jobs(&filter, cursor, 2)?;
    ///     seen += page.jobs.len();
    ///     cursor = page.next;
    ///     if cursor.is_none() {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(seen, 5);
    /// # Ok(()) }
    /// ```
    pub fn jobs(&self, filter: &JobFilter, cursor: Option<Cursor>, limit: usize) -> Result<Page, Error> {
        inspect::list(self.engine(), filter, cursor, limit)
    }

    /// Why a job is not running.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// assert_eq!(pond.explain(id)?.to_string(), r#"no worker of its queue handles kind "charge""#);
    ///
    /// pond.queue("billing")?.pause().await?;
    /// assert_eq!(pond.explain(id)?, Explanation::QueuePaused);
    /// # Ok(()) }
    /// ```
    pub fn explain(&self, id: JobId) -> Result<Explanation, Error> {
        inspect::explain(self.engine(), id)
    }

    /// Listens to what is committed from now on.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let mut events = pond.events();
    /// let enqueued = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// match events.next().await {
    ///     Some(Ok(Event::Enqueued { id, queue, .. })) => {
    ///         assert_eq!((id, &*queue), (enqueued, "billing"));
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn events(&self) -> Events {
        self.engine().bus.listen()
    }

    /// Events of some sort only. What the filter refuses takes no place in the listener's buffer, so that an import of
    /// 100,000 jobs, for example, does not push the dead ones out of it.
    ///
    /// The filter runs on the queue's own threads, for each event: it must be fast, and it must not wait for the queue; calls
    /// that do are answered [`Error::WouldDeadlock`]. An event for which it panics is let pass.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # let charge = |job: Job<Charge>| async move {
    /// #     Ok(if job.order == 0 { Outcome::dead_letter("card expired") } else { Outcome::Done(None) })
    /// # };
    /// # pond.worker("billing").handle(charge).start()?;
    /// let mut dead = pond.events_where(|event| matches!(event, Event::Dead { .. }));
    /// pond.enqueue_many("billing", (0..2_000).map(|order| Charge { order })).await?;
    /// # drain(&pond).await;
    /// assert!(matches!(dead.try_next(), Some(Ok(Event::Dead { .. }))));
    /// assert!(dead.try_next().is_none());
    /// # Ok(()) }
    /// ```
    pub fn events_where(&self, filter: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Events {
        self.engine().bus.listen_where(Box::new(filter))
    }

    /// What was counted since the queue was opened. Nothing but zeros in a process that was forked from the one that has
    /// opened it.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    ///
    /// let metrics = pond.metrics();
    /// assert_eq!((metrics.starts_total, metrics.completed_total, metrics.failed_total), (3, 3, 0));
    /// # Ok(()) }
    /// ```
    pub fn metrics(&self) -> MetricsSnapshot {
        if self.engine().is_forked() {
            return MetricsSnapshot::default();
        }
        self.engine().metrics.snapshot(self.engine().executor.running.stuck())
    }

    /// How many rows are in [`quarantine`](Self::quarantine).
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// assert_eq!(pond.quarantined()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn quarantined(&self) -> Result<u64, Error> {
        self.quarantine().count()
    }

    /// What keeps the queue from doing its work, if anything does: an I/O error has stopped the writer, somebody holds the
    /// file's write transaction, or the async runtime of its handlers has ended.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// if let Some(reason) = pond.degraded() {
    ///     eprintln!("the queue accepts nothing: {reason}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn degraded(&self) -> Option<String> {
        self.engine().degraded()
    }

    /// Goes through the whole file and says what does not agree: records that cannot be read, jobs in
    /// two places, jobs that nothing leads to, indexes, pointers and keys that lead nowhere, wrong counts.
    ///
    /// It reads the file as it is after one commit, which is not earlier than this call. With `.await` it runs on a thread of its own, with
    /// `.wait()` on the caller's. The writer goes on in the meantime. The time is linear in the number of rows, and the memory is about
    /// two bytes for each job. A read transaction is held until the end, so the file grows by what is written in the meantime.
    ///
    /// # Errors
    /// [`Error::Degraded`]: after a failed commit nobody knows yet what the file holds, so there is nothing
    /// to hold it against. Storage errors, [`Error::Closed`].
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// let verification = pond.verify().await?;
    /// assert!(verification.is_ok(), "{:?}", verification.problems);
    /// assert_eq!(verification.jobs, 1);
    /// # Ok(()) }
    /// ```
    pub fn verify(&self) -> Commit<Verification> {
        verify_beside(self.engine().clone())
    }

    /// Copies the file to `path` while it is in use, the application's tables included. The copy is the
    /// state of one commit, at least as late as this call: everything acknowledged before it is there. It
    /// is checked as [`verify_on_open`](crate::Builder::verify_on_open) does, closed in order and durable
    /// before it gets its name. Until then its name is `<path>.backing-up-` and 16 hexadecimal digits. A backup that fails leaves
    /// nothing, and a backup never replaces a file that was created at `path` in the meantime. Jobs that were running run again when the copy
    /// is opened.
    ///
    /// The copy has the permissions of the file, and the same owner and group if this process is allowed to set them. If the group cannot be
    /// set, the group gets no permissions. Access control lists are not copied. The backup of a queue that is not in a file
    /// has the permissions of any new file.
    ///
    /// It reads beside the queue on a thread of its own; the writer waits for the last few MiB only. No
    /// read transaction is held, so the file does not grow by it.
    ///
    /// # Errors
    /// [`Error::NotBackedUp`] if something of this name exists, if it is the file itself, if another
    /// backup is being taken, or if the database was [attached](crate::Builder::attach): then the
    /// application has to do it; [`Error::StorageFull`], [`Error::Io`], [`Error::Corrupt`] if a page of the
    /// file does not fit its checksum; [`Error::Degraded`], [`Error::Closed`].
    ///
    /// ```
    /// # use millpond::*;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// let pond = Millpond::open(dir.path().join("app.redb"))?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// let backup = pond.backup(dir.path().join("monday.redb")).await?;
    /// let restored = Millpond::open(&backup.path)?;
    /// assert_eq!(restored.queue("billing")?.counts().pending, 1);
    /// # Ok(()) }
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Commit<Backup> {
        back_up(self.engine().clone(), path.as_ref().to_owned())
    }

    // --- stopping -----------------------------------------------------------------------------

    /// Stops in order: nothing more starts; running jobs have until `deadline` to finish; then
    /// their contexts are cancelled; what still runs half a second later goes back to where it was,
    /// no attempt used, or to the dead letters if it [runs at most once](crate::NewJob::at_most_once). Returns when the
    /// file is closed, or a second after that if it is not.
    ///
    /// A second call waits for the same stop, until its own deadline and a second longer. It does not shorten the first
    /// one's.
    ///
    /// Blocking handlers cannot be stopped from outside: one that does not return is left behind,
    /// and what it answers is void.
    ///
    /// # Errors
    /// [`Error::StillClosing`] with what is in the way: a guard from [`begin_write`](Self::begin_write), a closure that
    /// blocks, the drop of a handler, of [data](WorkerBuilder::data) or of a hook that blocks, a write transaction of the
    /// application's in a database that it has [attached](crate::Builder::attach), the disk. The queue takes nothing any more and is closed when that ends; call
    /// this again to wait for it.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.shutdown(Duration::from_secs(10)).await?;
    ///
    /// let late = pond.enqueue("billing", NewJob::json("charge", &7)).await;
    /// assert!(matches!(late, Err(Error::Closed)));
    /// # Ok(()) }
    /// ```
    pub fn shutdown(&self, deadline: Duration) -> Commit<()> {
        let engine = self.engine().clone();
        Commit::new(async move {
            engine.store.check_process()?;
            let stopped = shutdown(engine.clone(), deadline).await;
            // No thread could be started: it stops at once, behind.
            stopped.unwrap_or(Err(Error::StillClosing { held_by: Occupant::Nobody.sentence() }))
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        if self.engine.is_forked() {
            // All of it belongs to another process: none of its threads is here to stop, and its locks may be held for ever.
            std::mem::forget(runtime);
            return;
        }
        let has_stopped = stop_now(&self.engine);
        // A stepped engine has no threads that close the file: whoever drives it does.
        if !self.engine.config.stepped {
            wait_for_the_close(&self.engine, has_stopped);
        }
        if let Some(runtime) = runtime {
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

    /// Another payload, of the same kind: a typed payload, or a [`NewJob`] without options. One that has options, such as
    /// a group, is refused by [`update`](Millpond::update) as [`Error::InvalidConfig`].
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
    pub fn run_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.run_at = Some(at.into());
        self
    }
}
