//! The handle of an open queue. It enqueues jobs, runs transactions, controls and reads jobs, and shuts the queue down.

mod compacting;
mod facts;
mod identity;
mod limits;
mod links;
mod pausing;
#[cfg(feature = "wasm")]
mod plugins;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::dead_letters::DeadLetters;
use crate::error::{BoxError, Error};
use crate::events::{Event, Events};
use crate::flows::{self, Flows};
use crate::inspect::{self, Cursor, Explanation, JobFilter, JobInfo, Page};
use crate::job::{
    CallSize, CancelOutcome, ConsumerInfo, Enqueued, FlowCreated, FlowDraft, HasQueue, JobId, JobPatch, NewJob,
    REASON_BYTES_MAX, Schedule, Scheduled, StepInfo, StreamInfo, TopicInfo, check_key, check_name,
};
use crate::metrics::MetricsSnapshot;
use crate::quarantine::Quarantine;
use crate::queue::Queue;
use crate::runtime::{Commit, Engine, back_up, beside, shutdown, stop_now, verify_beside, wait_for_the_close};
use crate::schedules::{self, Schedules};
use crate::selection::Selection;
use crate::storage::{Backup, Verification, redb_types::ReadTransaction};
use crate::streams::{ConsumerBuilder, Stream};
use crate::sync::block_on;
use crate::text::cut;
use crate::time::Timestamp;
use crate::topics::{self, Topic};
use crate::transaction::{Transaction, WriteGuard, check_may_wait, signal_payload};
use crate::worker::WorkerBuilder;
use crate::writer::{Lease, Leased, Occupant, Transact, Transacted, bulk, call};

/// An open file with its queues. It is cheap to clone, and all clones are handles of the same file.
///
/// [`shutdown`](Self::shutdown) stops it and lets running jobs finish. If the last clone is dropped without a shutdown,
/// everything stops at once: running jobs return to their queues without using up an attempt, and everything that was
/// acknowledged stays durable. A handler that holds a clone keeps the file open, so such an application must call
/// `shutdown`.
///
/// The last clone may be dropped anywhere. Usually the drop waits until the file is closed, for 5 s at most, so that it
/// can be opened again. It does not wait where the queue may itself wait for the dropping thread: inside a
/// transaction's closure, while the same thread holds a guard from [`begin_write`](Self::begin_write), and in a
/// callback on one of the queue's own threads. The file is then closed soon after. While such code runs on another
/// thread, the drop waits for 100 ms at most.
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
    /// The async runtime that the queue made for itself, if it was opened outside of any runtime.
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
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// # let path = dir.path().join("app.redb");
    /// let pond = Millpond::open(&path)?;
    /// assert!(matches!(Millpond::open(&path), Err(Error::AlreadyOpen { .. })));
    /// # Ok(()) });
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder().open(path)
    }

    /// The settings with which a file is opened.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let pond = Millpond::builder()
    ///     .max_running(64)
    ///     .events_buffer(4_096)
    ///     .open_backend(redb::backends::InMemoryBackend::new())?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.engine
    }

    // --- enqueueing and transactions ----------------------------------------------------------

    /// Enqueues a job: a typed payload, or a [`NewJob`] with options. Returns the job's id after the commit; concurrent
    /// calls share commits. If another job holds the same [unique key](NewJob::unique_key), nothing is stored and the
    /// id of that job is returned. [`Enqueued::status`] says which it was.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::InvalidKey`], [`Error::InvalidTag`], [`Error::TooManyTags`],
    /// [`Error::InvalidHeader`], [`Error::HeadersTooLarge`], [`Error::InvalidConfig`] for an option that cannot work,
    /// [`Error::PayloadTooLarge`], [`Error::Unencodable`], [`Error::QueueFull`]; [`Error::OutcomeUnknown`] if the
    /// commit failed and it is unknown whether it took effect; storage errors if it failed otherwise;
    /// [`Error::Degraded`], [`Error::Closed`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// let later = NewJob::new(Charge { order: 8 }).delay(Duration::from_secs(60));
    /// let later = pond.enqueue("billing", later).await?;
    ///
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// assert_eq!(pond.job(later)?.state, State::Scheduled);
    /// # Ok(()) });
    /// ```
    pub fn enqueue(&self, queue: &str, job: impl Into<NewJob>) -> Commit<Enqueued> {
        let answers = self.enqueue_all([(queue, job.into())]);
        Commit::new(async move { Ok(answers.await?[0]) })
    }

    /// Enqueues many jobs into one queue in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let ids = pond.enqueue_many("billing", (0..100).map(|order| Charge { order })).await?;
    /// assert_eq!(ids.len(), 100);
    ///
    /// let too_many = pond.enqueue_many("billing", (0..10_001).map(|order| Charge { order })).await;
    /// assert!(matches!(too_many, Err(Error::BatchTooLarge { jobs_max: 10_000, .. })));
    /// assert_eq!(pond.queue("billing")?.counts().pending, 100);
    /// # Ok(()) });
    /// ```
    pub fn enqueue_many<J: Into<NewJob>>(
        &self,
        queue: &str,
        jobs: impl IntoIterator<Item = J>,
    ) -> Commit<Vec<Enqueued>> {
        let jobs = self.engine().prepare_many(queue, &mut jobs.into_iter().map(Into::into));
        self.engine().enqueue(jobs)
    }

    /// Enqueues jobs into several queues in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue), and [`Error::BatchTooLarge`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let ids = pond
    ///     .enqueue_all([("billing", NewJob::json("charge", &7)), ("emails", NewJob::json("receipt", &7))])
    ///     .await?;
    /// assert_eq!(pond.job(ids[0])?.queue, "billing");
    /// assert_eq!(pond.job(ids[1])?.queue, "emails");
    /// # Ok(()) });
    /// ```
    pub fn enqueue_all<Q: AsRef<str>, J: Into<NewJob>>(
        &self,
        jobs: impl IntoIterator<Item = (Q, J)>,
    ) -> Commit<Vec<Enqueued>> {
        let mut size = CallSize::default();
        let prepare = |(queue, job): (Q, J)| {
            let job = self.engine().prepare(queue.as_ref(), job.into())?;
            size.add(job.bytes.len())?;
            Ok(job)
        };
        self.engine().enqueue(jobs.into_iter().map(prepare).collect())
    }

    /// Enqueues a job into the queue of its kind. It is [`enqueue`](Self::enqueue) with [`HasQueue::QUEUE`] and the options
    /// of the kind. For a job with other options, use `enqueue` with that constant.
    ///
    /// A kind without a queue is refused by the compiler.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// #[derive(Serialize, Deserialize, Kind)]
    /// #[kind(queue = "billing", max_attempts = 8)]
    /// struct Refund { order: u64 }
    ///
    /// let id = pond.send(Refund { order: 7 }).await?;
    /// assert_eq!((pond.job(id)?.queue.as_str(), pond.job(id)?.max_attempts), ("billing", Some(8)));
    ///
    /// let later = NewJob::new(Refund { order: 8 }).delay(Duration::from_secs(60));
    /// pond.enqueue(Refund::QUEUE, later).await?;
    /// # Ok(()) });
    /// ```
    pub fn send<K: HasQueue>(&self, job: K) -> Commit<Enqueued> {
        self.enqueue(K::QUEUE, job)
    }

    /// Enqueues many jobs of one kind into its queue in one commit, all or none. At most 10,000 jobs and 32 MiB.
    ///
    /// # Errors
    /// Those of [`enqueue_many`](Self::enqueue_many).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # #[derive(Serialize, Deserialize, Kind)]
    /// # #[kind(queue = "billing")]
    /// # struct Refund { order: u64 }
    /// let ids = pond.send_many((0..100).map(|order| Refund { order })).await?;
    /// assert_eq!(ids.len(), 100);
    /// # Ok(()) });
    /// ```
    pub fn send_many<K: HasQueue>(&self, jobs: impl IntoIterator<Item = K>) -> Commit<Vec<Enqueued>> {
        self.enqueue_many(K::QUEUE, jobs)
    }

    /// Runs `write` in the next commit: the application's rows and its jobs are committed together or not at all.
    ///
    /// The closure runs on the writer's thread, in one batch with all other calls that wait for the next commit, so
    /// that many concurrent transactions share one fsync. If the writer is idle and the caller waits with `.wait()`, it
    /// runs on the caller's thread. If this closure or another one of the batch fails after it has written, the closure
    /// can run again, usually twice at most: it must have no effects outside its [`Transaction`]. It must not block,
    /// because the writer waits for it. It is dropped on the caller's thread when the result arrives.
    ///
    /// # Errors
    /// [`Error::Aborted`] if the closure fails: its source is the closure's error, or the message of its panic.
    /// [`Error::aborted`] gives the closure's own error back.
    /// [`Error::WouldDeadlock`] where the queue waits for the caller; storage errors.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    ///
    /// # with_pond(async |pond| {
    /// pond.transaction(|tx| {
    ///     tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    ///     tx.enqueue("emails", Welcome { email: "ada@example.org".into() })?;
    ///     Ok(())
    /// })
    /// .await?;
    /// assert_eq!(pond.queue("emails")?.counts().pending, 1);
    /// # Ok(()) });
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

    /// Begins a write transaction that has a commit of its own. The call blocks until the file's write transaction is
    /// free. Until the guard ends, all other writes of the queue wait, for
    /// [`write_wait_max`](crate::Builder::write_wait_max) at most. Prefer [`transaction`](Self::transaction), which
    /// shares its fsync with other calls.
    ///
    /// # Errors
    /// [`Error::WouldDeadlock`] inside another transaction or in a callback; [`Error::WriteHeld`] if another write
    /// transaction has been held for longer than [`write_wait_max`](crate::Builder::write_wait_max); storage errors.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// # const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    /// # let pond = in_memory(&ManualClock::new())?;
    /// let mut tx = pond.begin_write()?;
    /// tx.open_table(USERS)?.insert(7, "ada@example.org")?;
    /// let id = tx.enqueue("emails", NewJob::json("welcome", &"ada@example.org"))?;
    /// tx.commit()?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn begin_write(&self) -> Result<WriteGuard, Error> {
        check_may_wait()?;
        self.engine().check_process()?;
        let (lease, lent) = Lease::new();
        self.engine().lease(lease)?;
        let (txn, now, next_id, back) = block_on(lent).map_err(|_| Error::Closed)??;
        let give_back = Box::new(move |ended: Option<_>| {
            let Some((txn, staged)) = ended else {
                let _ = back.send(None);
                return Ok(());
            };
            let (answer, committed) = call(|_| Ok(()));
            let answer = answer.answered();
            back.send(Some(Leased { txn, staged, answer })).map_err(|_| Error::Closed)?;
            block_on(committed).map_err(|_| Error::Closed)?
        });
        Ok(WriteGuard::new(txn, now, next_id, self.engine().preparer(), give_back))
    }

    /// A snapshot of the file, for reading the application's own tables. Do not keep it for long: while it exists, the
    /// file cannot reuse the space of overwritten data, and grows.
    ///
    /// # Errors
    /// Storage errors, [`Error::Closed`].
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use redb::TableDefinition;
    ///
    /// const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
    ///
    /// # with_pond(async |pond| {
    /// # pond.transaction(|tx| Ok(tx.open_table(USERS)?.insert(7, "ada@example.org").map(drop)?)).await?;
    /// let users = pond.begin_read()?.open_table(USERS)?;
    /// assert_eq!(users.get(7)?.unwrap().value(), "ada@example.org");
    /// # Ok(()) });
    /// ```
    pub fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.engine().begin_read()
    }

    // --- schedules ----------------------------------------------------------------------------

    /// Stores a schedule under this name, which is any text of 1 to 200 bytes. It enqueues its job at its times from then
    /// on, also after a restart.
    ///
    /// An application usually makes this call at each start. If the schedule of this name has the same definition, nothing
    /// changes. If it has another one, that is replaced: the count of runs and the latest run stay. A run that is due
    /// and not enqueued yet is enqueued with the new job, and no time runs twice.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) for a job or a queue's name that is not accepted, except
    /// [`Error::QueueFull`]; [`Error::InvalidKey`] for the name; [`Error::InvalidConfig`] for a schedule that cannot
    /// work, and for more than 100,000 schedules.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let noon = Cron::parse("0 12 * * *")?.zone("America/New_York")?;
    /// pond.schedule("lunch", Schedule::new(noon, "billing", Charge { order: 7 })).await?;
    ///
    /// clock.advance(Duration::from_secs(17 * 3600)); // 12:00 in New York
    /// drain(&pond).await;
    /// assert_eq!(pond.queue("billing")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    pub fn schedule(&self, name: &str, schedule: Schedule) -> Commit<Scheduled> {
        schedules::store(self.engine(), name, schedule)
    }

    /// The schedules: list, change, pause, resume and remove them, run one now, and see when it runs next.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert!(pond.schedules().list("", 100)?.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn schedules(&self) -> Schedules {
        Schedules::new(self.engine().clone())
    }

    // --- topics -------------------------------------------------------------------------------

    /// The topic of this name: bind queues to it, publish messages to it. It exists in the file from its first
    /// [binding](Topic::bind) on.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let orders = pond.topic("orders")?;
    /// orders.bind(Binding::to("mail").key("order.created.*")).await?;
    /// orders.bind(Binding::to("analytics").key("order.#")).await?;
    ///
    /// let published = orders.publish("order.created.eu", NewJob::json("order", &7)).await?;
    /// assert_eq!(published.jobs.len(), 2);
    /// assert_eq!(pond.queue("mail")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    pub fn topic(&self, name: &str) -> Result<Topic, Error> {
        Topic::new(self.engine().clone(), name)
    }

    /// All topics, in the order of their names, as of the last commit. A file has 1,024 at most.
    ///
    /// # Errors
    /// [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.topic("orders")?.bind(Binding::to("mail")).await?;
    /// let topics = pond.topics()?;
    /// assert_eq!((topics[0].name.as_str(), topics[0].bindings), ("orders", 1));
    /// # Ok(()) });
    /// ```
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Error> {
        topics::list(self.engine())
    }

    // --- flows --------------------------------------------------------------------------------

    /// Makes a flow: jobs that wait for jobs, committed at once. `describe` adds the jobs and says which waits for which. A job
    /// that waits is [`Blocked`](crate::State::Blocked); it is enqueued in the commit that ends the last job for which it waits. If a
    /// flow of this name is there already, nothing is stored, and the answer says so. The name is any text of 1 to 1,024 bytes.
    ///
    /// One call takes at most 10,000 jobs and 32 MiB, and 100,000 dependencies. A larger flow gets a
    /// [signal](FlowDraft::signal) for which its last jobs wait, more jobs by [`add_to_flow`](Self::add_to_flow), and then the
    /// signal.
    ///
    /// # Errors
    /// [`Error::InvalidFlow`], such as for jobs that would wait for each other in a circle; [`Error::InvalidKey`] for a name;
    /// [`Error::QueueFull`] even if the queue's setting is to wait; [`Error::BatchTooLarge`]; [`Error::InvalidConfig`] for a job
    /// with a unique or idempotency key; those of [`enqueue`](Self::enqueue) for a job.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::{FlowState, OnFailure};
    ///
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// # for queue in ["warehouse", "emails"] {
    /// #     pond.worker(queue).handle_raw("pack", |_: Job<bytes::Bytes>| async { Ok(()) }).handle_raw("receipt", |_: Job<bytes::Bytes>| async { Ok(()) }).start()?;
    /// # }
    /// pond.flow("order-7", |flow| {
    ///     let charge = flow.job("billing", Charge { order: 7 });
    ///     let pack = flow.job("warehouse", NewJob::json("pack", &7)).after(&charge);
    ///     flow.job("emails", NewJob::json("receipt", &7)).after_all([&charge, &pack]).on_failed_dependency(OnFailure::Run);
    /// })
    /// .await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.flows().get("order-7")?.state, FlowState::Completed);
    /// # Ok(()) });
    /// ```
    pub fn flow(&self, name: &str, describe: impl FnOnce(&FlowDraft)) -> Commit<FlowCreated> {
        flows::create(self.engine(), name, describe)
    }

    /// Adds jobs to a flow of which something can still run. [`Transaction::add_to_flow`] does the same in a transaction, and says
    /// more. Returns the ids of the new jobs in the order in which they were described.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], [`Error::FlowEnded`], and those of [`flow`](Self::flow).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.flow("import", |flow| {
    ///     let all = flow.signal("all added");
    ///     let _ = flow.job("imports", NewJob::json("sum", &())).named("sum").after(&all);
    /// })
    /// .await?;
    /// for chunk in 0..3 {
    ///     pond.add_to_flow("import", |flow| {
    ///         let sum = flow.existing("sum");
    ///         (0..100).for_each(|row| drop(sum.clone().after(&flow.job("imports", NewJob::json("row", &(chunk, row))))));
    ///     })
    ///     .await?;
    /// }
    /// pond.signal("import", "all added", &()).await?;
    /// assert_eq!(pond.flows().get("import")?.counts.active, 300);
    /// # Ok(()) });
    /// ```
    pub fn add_to_flow(&self, name: &str, describe: impl FnOnce(&FlowDraft)) -> Commit<Vec<JobId>> {
        flows::add(self.engine(), name, describe)
    }

    /// Says that a [signal](FlowDraft::signal) of a flow has come. `payload` is the result of the signal, as JSON. Returns false
    /// if it had come before, or has missed its deadline: the first call counts.
    ///
    /// # Errors
    /// [`Error::NoSuchFlow`], [`Error::NoSuchSignal`], [`Error::PayloadTooLarge`], [`Error::Unencodable`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.flow("order-7", |flow| {
    ///     let approved = flow.signal("approved").deadline_in(Duration::from_secs(3600));
    ///     flow.job("billing", Charge { order: 7 }).after(&approved);
    /// })
    /// .await?;
    /// assert!(pond.signal("order-7", "approved", &"ada").await?);
    /// assert!(!pond.signal("order-7", "approved", &"bob").await?);
    /// assert_eq!(pond.queue("billing")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    pub fn signal(&self, flow: &str, signal: &str, payload: &(impl serde::Serialize + ?Sized)) -> Commit<bool> {
        flows::signal(self.engine(), flow, signal, payload)
    }

    /// Says that a signal has come for a job, whose handler waits for it with [`Context::wait_for`](crate::Context::wait_for) or
    /// will do so. `payload` is what the handler gets, as JSON. Returns false if the signal had come before: the first call
    /// counts.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`], also if the job has ended; [`Error::PayloadTooLarge`], [`Error::Unencodable`],
    /// [`Error::TooManySteps`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// assert!(pond.signal_job(id, "approved", "ada").await?);
    /// assert!(!pond.signal_job(id, "approved", "bob").await?);
    /// # Ok(()) });
    /// ```
    pub fn signal_job(
        &self,
        id: impl Into<JobId>,
        signal: &str,
        payload: &(impl serde::Serialize + ?Sized),
    ) -> Commit<bool> {
        let came = check_key("step", signal).and_then(|()| signal_payload(&*self.engine().preparer(), payload));
        self.engine().signal_job(id.into(), signal.to_owned(), came)
    }

    /// The [steps](crate::Context::step) of a job that are stored, in the order in which they were. Empty for a job that has
    /// none, or is not there.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>, ctx: Context| async move {
    ///         ctx.step("charge", || async { Ok::<_, Error>(7) }).await?;
    ///         Outcome::done_json(&true)
    ///     })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.steps(id)?[0].result_json::<u64>()?, Some(7));
    /// # Ok(()) });
    /// ```
    pub fn steps(&self, id: impl Into<JobId>) -> Result<Vec<StepInfo>, Error> {
        self.engine().steps_of(id.into())
    }

    /// The flows: look at them, cancel them, retry what has died.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert!(pond.flows().list("", 100)?.is_empty());
    /// # Ok(()) });
    /// ```
    pub fn flows(&self) -> Flows {
        Flows::new(self.engine().clone())
    }

    // --- streams ------------------------------------------------------------------------------

    /// The stream of this name. It need not exist yet: the first entry makes it.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let offset = pond.stream("orders")?.append(Charge { order: 7 }).await?;
    /// assert_eq!(offset, 0);
    /// # Ok(()) });
    /// ```
    pub fn stream(&self, name: &str) -> Result<Stream, Error> {
        Stream::new(self.engine().clone(), name)
    }

    /// The streams behind the name `after` (the empty text for all), in the order of their names, up to `limit` (at most 1,000).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.stream("orders")?.append(Charge { order: 7 }).await?;
    /// assert_eq!(pond.streams("", 100)?[0].name, "orders");
    /// # Ok(()) });
    /// ```
    pub fn streams(&self, after: &str, limit: usize) -> Result<Vec<StreamInfo>, Error> {
        self.engine().stream_infos(after, limit)
    }

    /// A builder for a consumer of a stream: give it handlers, then [start](ConsumerBuilder::start) it.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.consumer("orders", "billing")
    ///     .handle(|order: Job<Charge>| async move {
    ///         println!("charge order {}", order.order);
    ///         Ok(())
    ///     })
    ///     .start()
    ///     .await?;
    /// # Ok(()) });
    /// ```
    pub fn consumer(&self, stream: &str, name: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(self.engine().clone(), stream, name)
    }

    /// The consumers of all streams, by the names of their streams and their own.
    ///
    /// # Errors
    /// Storage errors.
    pub fn consumers(&self) -> Result<Vec<ConsumerInfo>, Error> {
        self.engine().consumer_infos(None, usize::MAX)
    }

    // --- running jobs -------------------------------------------------------------------------

    /// A builder for this queue's worker: give it handlers and limits, then [start](WorkerBuilder::start) it.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
    /// # Ok(()) });
    /// ```
    pub fn worker(&self, queue: &str) -> WorkerBuilder {
        WorkerBuilder::new(self.engine().clone(), queue)
    }

    /// The current time of the queue's clock: the system's time, or that of the clock that was passed to
    /// [`Builder::clock`](crate::Builder::clock). The times of jobs, such as [`JobInfo::enqueued_at`], come from this
    /// clock.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let clock = ManualClock::new();
    /// let pond = in_memory(&clock)?;
    /// let before = pond.now();
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(pond.now(), before + Duration::from_secs(1));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn now(&self) -> Timestamp {
        self.engine().wall_now()
    }

    /// How many jobs run at a time in this process, from now on. With fewer slots than running jobs,
    /// those finish.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0; [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.set_max_running(32)?;
    /// assert!(matches!(pond.set_max_running(0), Err(Error::InvalidConfig { field: "max_running", .. })));
    /// # Ok(()) });
    /// ```
    pub fn set_max_running(&self, jobs: usize) -> Result<(), Error> {
        if jobs == 0 {
            return Err(Error::config("max_running", "it must be at least 1".into()));
        }
        self.engine().check_process()?;
        self.engine().scheduler().set_running_max(jobs);
        self.engine().wake_dispatcher();
        Ok(())
    }

    // --- controlling queues and jobs ----------------------------------------------------------

    /// The queue of this name. It need not exist yet.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Forked`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let billing = pond.queue("billing")?;
    /// assert_eq!(billing.counts().unfinished(), 0);
    ///
    /// assert!(matches!(pond.queue("no spaces"), Err(Error::InvalidName { what: "queue", .. })));
    /// # Ok(()) });
    /// ```
    pub fn queue(&self, name: &str) -> Result<Queue, Error> {
        self.engine().check_process()?;
        check_name("queue", name)?;
        Ok(Queue::new(self.engine().clone(), name.into()))
    }

    /// All queues in the file, sorted by name. Empty in a process that was forked from the one that opened the file.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.enqueue("emails", NewJob::json("receipt", &7)).await?;
    /// pond.queue("billing")?.pause().await?;
    ///
    /// let names: Vec<_> = pond.queues().iter().map(|queue| queue.name().to_owned()).collect();
    /// assert_eq!(names, ["billing", "emails"]);
    /// # Ok(()) });
    /// ```
    pub fn queues(&self) -> Vec<Queue> {
        if self.engine().is_forked() {
            return Vec::new();
        }
        let engine = self.engine();
        let names = engine.stored_queues().into_iter().map(|id| engine.queue_name(id));
        names.map(|name| Queue::new(engine.clone(), name)).collect()
    }

    /// Cancels a job. One that waits ends at once. One that runs is asked to stop, and does not run again; see
    /// [the guide](crate::guide::cancelling) for what its handler sees. For one that has ended, nothing changes.
    ///
    /// A cancelled job keeps its errors and the reason, of which 4 KiB are kept. Its unique key is free once it has ended.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// assert_eq!(pond.cancel(id, "the order was withdrawn").await?, CancelOutcome::Cancelled);
    /// assert_eq!(pond.cancel(id, "again").await?, CancelOutcome::AlreadyEnded(State::Cancelled));
    /// assert_eq!(pond.job(id)?.reason.as_deref(), Some("the order was withdrawn"));
    /// # Ok(()) });
    /// ```
    pub fn cancel(&self, id: impl Into<JobId>, reason: impl Into<String>) -> Commit<CancelOutcome> {
        let reason = cut(reason.into(), REASON_BYTES_MAX);
        self.engine().change_waiting(id.into(), 0, move |batch, target| batch.cancel_job(target, &reason))
    }

    /// Enqueues a job, waits until it has ended, and returns it as it has ended. The wait begins before the job can start, so this
    /// also returns the end of a job that is not kept. If the job is a duplicate, this waits for the job that was there.
    ///
    /// A caller that stops waiting changes nothing for the job. See [`finished`](Self::finished) for what an end is.
    ///
    /// # Errors
    /// Those of [`enqueue`](Self::enqueue) and of [`finished`](Self::finished).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|job: Job<Charge>| async move { Outcome::done_json(&(job.order * 2)) }).start()?;
    ///
    /// let charge = pond.enqueue_and_wait("billing", Charge { order: 7 });
    /// let job = tokio::time::timeout(Duration::from_secs(10), charge).await.expect("it ends in time")?;
    /// assert_eq!((job.state, job.result_json::<u64>()?), (State::Completed, Some(14)));
    /// # Ok(()) });
    /// ```
    pub fn enqueue_and_wait(&self, queue: &str, job: impl Into<NewJob>) -> Commit<JobInfo> {
        let engine = self.engine().clone();
        let end = engine.enqueue_and_wait(engine.prepare(queue, job.into()));
        Commit::new(async move { inspect::describe_ended(&engine, end.await?) })
    }

    /// Waits until the job has ended, and returns it as it has ended: its state, its result
    /// ([`result_json`](JobInfo::result_json), [`output`](JobInfo::output)), its errors and the reason. A job that has ended
    /// before is returned at once if it is kept. Ends that are not kept are returned too, if they happen while this waits.
    ///
    /// `Dead` is an end: if the job is redriven later, wait again. The wait has no limit of its own: put it into
    /// `tokio::time::timeout`. A wait that is dropped leaves nothing behind. Each call asks the writer once, which writes nothing
    /// for it. Without such calls nothing is noted of jobs that end.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`] if the job is not known, has ended and was not kept, is deleted meanwhile, or has ended in a commit that
    /// failed and still reached the disk, and is not kept; [`Error::Closed`] if the file is closed first; [`Error::Degraded`] while the file cannot be written; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|job: Job<Charge>| async move { Outcome::done_json(&(job.order * 2)) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    ///
    /// let ended = tokio::time::timeout(Duration::from_secs(10), pond.finished(id)).await.expect("it ends in time")?;
    /// assert_eq!((ended.state, ended.result_json::<u64>()?), (State::Completed, Some(14)));
    /// # Ok(()) });
    /// ```
    pub fn finished(&self, id: impl Into<JobId>) -> Commit<JobInfo> {
        let (engine, id) = (self.engine().clone(), id.into());
        Commit::new(async move {
            let ended = engine.end_of(id).await?;
            inspect::describe_ended(&engine, ended)
        })
    }

    /// Changes a waiting job.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if the job is running or has ended; those of
    /// [`enqueue`](Self::enqueue) for a payload that is not accepted.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// pond.update(id, JobPatch::new().payload(Charge { order: 8 }).priority(Priority::FIRST)).await?;
    ///
    /// let job = pond.job(id)?;
    /// assert_eq!(job.payload.decode::<Charge>()?.order, 8);
    /// assert_eq!(job.priority, Priority::FIRST);
    /// # Ok(()) });
    /// ```
    pub fn update(&self, id: impl Into<JobId>, patch: JobPatch) -> Commit<()> {
        let (engine, id) = (self.engine().clone(), id.into());
        Commit::new(async move {
            let patch = patch.stored(|payload| {
                let info = inspect::find(&engine, id)?;
                engine.prepare_payload(&info.queue, &info.kind, payload)
            })?;
            let bytes = patch.payload.as_ref().map_or(0, |payload| payload.bytes.len());
            engine.change_waiting(id, bytes, move |batch, target| batch.update_job(target, &patch)).await
        })
    }

    /// Makes a scheduled or retrying job due now. A job that is already due is not changed.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if it runs or has ended.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let job = NewJob::json("charge", &7).delay(Duration::from_secs(3600));
    /// let id = pond.enqueue("billing", job).await?;
    ///
    /// pond.run_now(id).await?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok(()) });
    /// ```
    pub fn run_now(&self, id: impl Into<JobId>) -> Commit<()> {
        self.update(id, JobPatch::new().run_at(Timestamp::EPOCH))
    }

    /// Moves a job that waits, or a dead letter, to another queue. It keeps its id, its priority and the time for which it
    /// waits, and joins the end of its group there if it has one. Returns false if it is in that queue already, or if another
    /// job there holds its unique key.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if the job is running, has completed or was cancelled;
    /// [`Error::QueueFull`]; those of [`queue`](Self::queue) for the name.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// assert!(pond.move_to(id, "billing-by-hand").await?);
    /// assert_eq!(pond.job(id)?.queue, "billing-by-hand");
    /// # Ok(()) });
    /// ```
    pub fn move_to(&self, id: impl Into<JobId>, queue: &str) -> Commit<bool> {
        let (id, engine, queue_name) = (id.into(), self.engine().clone(), queue.to_owned());
        let name = check_name("queue", queue);
        Commit::new(async move {
            name?;
            engine.change_waiting(id, 0, move |batch, target| bulk::move_to(batch, target, &queue_name)).await
        })
    }

    /// Removes a job for good, whether it waits or has ended, with its errors and its result. Its unique key is free at once.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; [`Error::NotAllowed`] if the job is running.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// pond.delete(id).await?;
    /// assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) });
    /// ```
    pub fn delete(&self, id: impl Into<JobId>) -> Commit<()> {
        self.engine().change_waiting(id.into(), 0, |batch, target| bulk::delete(batch, target).map(drop))
    }

    /// The dead letters: the jobs that failed permanently.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let dead = pond.dead_letters();
    /// assert_eq!(dead.count(&JobFilter::new().queue("billing"))?, 0);
    /// # Ok(()) });
    /// ```
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.engine().clone())
    }

    /// The quarantine: the rows that could not be read.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for row in pond.quarantine().list(0, 100)? {
    ///     eprintln!("row {} from {}: {}", row.number, row.table, row.why);
    /// }
    /// # Ok(()) });
    /// ```
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.engine().clone())
    }

    // --- reading ------------------------------------------------------------------------------

    /// Runs `read` on a thread that may block, and returns its result. It is for async tasks, which must not wait for
    /// the disk. With [`wait`](Commit::wait), `read` runs on the caller's thread. A panic of `read` continues in the
    /// caller.
    ///
    /// These calls read the file and block their thread while they do: [`job`](Self::job), [`jobs`](Self::jobs),
    /// [`explain`](Self::explain), [`quarantined`](Self::quarantined), the lists and counts of [`DeadLetters`] and
    /// [`Quarantine`], and the state of a plugin. A read from the page cache takes microseconds. Any other read takes
    /// one disk access or more, and a filter that matches few jobs can read up to 64 MiB for a page. No other call
    /// blocks on the disk: calls that return a [`Commit`] wait without blocking a thread, and [`Queue::counts`],
    /// [`Queue::settings`], [`metrics`](Self::metrics) and [`degraded`](Self::degraded) read memory.
    /// [`begin_write`](Self::begin_write), [`begin_read`](Self::begin_read) and opening a file block as their own docs
    /// say.
    ///
    /// # Errors
    /// Those of `read`; [`Error::RuntimeEnded`] if the async runtime ends before `read` was begun.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// let (job, why) = pond.read(move |pond| Ok((pond.job(id)?, pond.explain(id)?))).await?;
    /// assert_eq!(job.state, State::Pending);
    /// assert_eq!(why.to_string(), r#"no worker of its queue handles kind "charge""#);
    /// # Ok(()) });
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
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7).group("order-7")).await?;
    ///
    /// let job = pond.job(id)?;
    /// assert_eq!((job.queue.as_str(), job.kind.as_str()), ("billing", "charge"));
    /// assert_eq!(job.group.as_deref(), Some("order-7"));
    /// assert!(matches!(pond.job(JobId::new(999)), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) });
    /// ```
    pub fn job(&self, id: impl Into<JobId>) -> Result<JobInfo, Error> {
        inspect::find(self.engine(), id.into())
    }

    /// The jobs that match `filter`, starting at `cursor`: up to `limit` of them (at least 1, at most 1,000). A page
    /// ends with the job with which it reaches 8 MiB, and a call reads 10,000 jobs or 64 MiB at most. A page can
    /// therefore be short, or empty, and still have a next one.
    ///
    /// The oldest jobs come first: by queue, then by state, and in a state in the order in which the jobs start, are due or
    /// have ended. With [`JobFilter::newest_first`] the newest come first, in all queues together.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
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
    /// # Ok(()) });
    /// ```
    pub fn jobs(&self, filter: &JobFilter, cursor: Option<Cursor>, limit: usize) -> Result<Page, Error> {
        inspect::list(self.engine(), filter, cursor, limit)
    }

    /// The jobs that match `filter`, to be counted, cancelled, changed or removed all together.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.enqueue_many("emails", (0..3).map(|order| Charge { order })).await?;
    /// let done = pond.select(&JobFilter::new().queue("emails")).cancel("the newsletter was recalled").await?;
    /// assert_eq!(done.changed, 3);
    /// # Ok(()) });
    /// ```
    pub fn select(&self, filter: &JobFilter) -> Selection {
        Selection::new(self.engine().clone(), filter.clone())
    }

    /// Why a job is not running.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// [`Error::NoSuchJob`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    /// assert_eq!(pond.explain(id)?.to_string(), r#"no worker of its queue handles kind "charge""#);
    ///
    /// pond.queue("billing")?.pause().await?;
    /// assert_eq!(pond.explain(id)?, Explanation::QueuePaused);
    /// # Ok(()) });
    /// ```
    pub fn explain(&self, id: impl Into<JobId>) -> Result<Explanation, Error> {
        inspect::explain(self.engine(), id.into())
    }

    /// A listener that receives every event from now on, each after it is durable. The events of attempts that run are received by
    /// [`events_with_attempts`](Self::events_with_attempts) only.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let mut events = pond.events();
    /// let enqueued = pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// match events.next().await {
    ///     Some(Ok(Event::Enqueued { id, queue, .. })) => {
    ///         assert_eq!((id, &*queue), (enqueued.id, "billing"));
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok(()) });
    /// ```
    pub fn events(&self) -> Events {
        self.engine().listen()
    }

    /// A listener that receives only the events for which `filter` returns true. The other events take no place in the
    /// listener's buffer. A listener for dead letters, for example, misses none of them while 100,000 jobs are
    /// imported.
    ///
    /// The filter runs on the queue's own threads, for every event. It must be fast, and it must not wait for the
    /// queue: calls that would wait return [`Error::WouldDeadlock`]. If the filter panics, the event is delivered.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let charge = |job: Job<Charge>| async move {
    /// #     Ok(if job.order == 0 { Outcome::dead_letter("card expired") } else { Outcome::Done(None) })
    /// # };
    /// # pond.worker("billing").handle(charge).start()?;
    /// let mut dead = pond.events_where(|event| matches!(event, Event::Dead { .. }));
    /// pond.enqueue_many("billing", (0..2_000).map(|order| Charge { order })).await?;
    /// # drain(&pond).await;
    /// assert!(matches!(dead.try_next(), Some(Ok(Event::Dead { .. }))));
    /// assert!(dead.try_next().is_none());
    /// # Ok(()) });
    /// ```
    pub fn events_where(&self, filter: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Events {
        self.engine().listen_where(Box::new(filter), false)
    }

    /// As [`events_where`](Self::events_where), with the events of attempts that run: [`Event::Started`] and
    /// [`Event::Progress`]. No other listener receives these.
    ///
    /// A queue without such a listener spends nothing on these events. With one, the filter also runs on the threads of the
    /// handlers, before each handler's call and for each event about its progress.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let mut events = pond.events_with_attempts(|event| !matches!(event, Event::Enqueued { .. }));
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// assert!(matches!(events.next().await, Some(Ok(Event::Started { attempt: 1, .. }))));
    /// assert!(matches!(events.next().await, Some(Ok(Event::Completed { attempt: 1, .. }))));
    /// # Ok(()) });
    /// ```
    pub fn events_with_attempts(&self, filter: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Events {
        self.engine().listen_where(Box::new(filter), true)
    }

    /// The counters since the file was opened. All are zero in a process that was forked from the one that opened it.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
    /// drain(&pond).await;
    ///
    /// let metrics = pond.metrics();
    /// assert_eq!((metrics.starts_total, metrics.completed_total, metrics.failed_total), (3, 3, 0));
    /// # Ok(()) });
    /// ```
    pub fn metrics(&self) -> MetricsSnapshot {
        if self.engine().is_forked() {
            return MetricsSnapshot::default();
        }
        self.engine().metrics()
    }

    /// How many rows are in [`quarantine`](Self::quarantine).
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](Self::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert_eq!(pond.quarantined()?, 0);
    /// # Ok(()) });
    /// ```
    pub fn quarantined(&self) -> Result<u64, Error> {
        self.quarantine().count()
    }

    /// The reason why the queue cannot work at the moment, if there is one: for example, an I/O error has stopped the
    /// writer, the file's write transaction has been held for too long, or the async runtime of the handlers has ended.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// if let Some(reason) = pond.degraded() {
    ///     eprintln!("the queue accepts nothing: {reason}");
    /// }
    /// # Ok(()) });
    /// ```
    pub fn degraded(&self) -> Option<String> {
        self.engine().degraded()
    }

    /// Checks the whole file and reports every inconsistency: records that cannot be read, jobs that are in two tables
    /// or in none, entries of indexes, groups and unique keys that refer to no job, and wrong counts.
    ///
    /// It reads the state after one commit, which is not earlier than this call. With `.await` it runs on a thread of
    /// its own, with `.wait()` on the caller's. The writer continues meanwhile. The time is linear in the number of
    /// rows, and the memory is about two bytes for each job. A read transaction is held until the end, so the file
    /// grows by what is written meanwhile.
    ///
    /// # Errors
    /// [`Error::Degraded`] after a failed commit: until the file is open again, it is unknown what it holds. Storage
    /// errors, [`Error::Closed`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// let verification = pond.verify().await?;
    /// assert!(verification.is_ok(), "{:?}", verification.problems);
    /// assert_eq!(verification.jobs, 1);
    /// # Ok(()) });
    /// ```
    pub fn verify(&self) -> Commit<Verification> {
        verify_beside(self.engine().clone())
    }

    /// Copies the file to `path` while it is in use, including the application's tables. The copy is the state after
    /// one commit, which is not earlier than this call: it holds everything that was acknowledged before. Before the
    /// copy gets its name, it is checked as [`verify_on_open`](crate::Builder::verify_on_open) does, closed cleanly and
    /// made durable. Until then its name is `<path>.backing-up-` and 16 hexadecimal digits. A backup that fails leaves
    /// no file, and a backup never replaces a file that was created at `path` meanwhile. Jobs that were running run
    /// again when the copy is opened.
    ///
    /// The copy has the permissions of the file, and the same owner and group if this process is allowed to set them. If the group cannot be
    /// set, the group gets no permissions. Access control lists are not copied. The backup of a queue that is not in a file
    /// has the permissions of any new file.
    ///
    /// If the file has an [identity](Self::identity), the copy is marked, and its first opening gives it another incarnation.
    ///
    /// The backup runs on a thread of its own; the writer waits only while the last few MiB are copied. No read
    /// transaction is held, so the file does not grow because of it.
    ///
    /// # Errors
    /// [`Error::NotBackedUp`] if `path` exists, if it is the queue's own file, if another backup is being made, or if
    /// the database was [attached](crate::Builder::attach), because only the application can back that up;
    /// [`Error::StorageFull`], [`Error::Io`]; [`Error::Corrupt`] if a page of the file does not match its checksum;
    /// [`Error::Degraded`], [`Error::Closed`].
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let dir = tempfile::tempdir()?;
    /// let pond = Millpond::open(dir.path().join("app.redb"))?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).await?;
    ///
    /// let backup = pond.backup(dir.path().join("monday.redb")).await?;
    /// let restored = Millpond::open(&backup.path)?;
    /// assert_eq!(restored.queue("billing")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    pub fn backup(&self, path: impl AsRef<Path>) -> Commit<Backup> {
        back_up(self.engine().clone(), path.as_ref().to_owned())
    }

    // --- stopping -----------------------------------------------------------------------------

    /// Shuts the queue down. No more jobs start, and running jobs have `deadline` to finish. After it their contexts
    /// are cancelled. A job that still runs half a second later returns to its queue without using up an attempt, or
    /// becomes a dead letter if it [runs at most once](crate::NewJob::at_most_once). The call returns when the file is
    /// closed; if it is not closed a second after that, the call fails.
    ///
    /// A second call waits for the same shutdown, until its own deadline and one second more. It does not shorten the
    /// deadline of the first call.
    ///
    /// Blocking handlers cannot be stopped from outside: a handler that does not return keeps its thread, and its
    /// result is ignored.
    ///
    /// # Errors
    /// [`Error::StillClosing`] with the cause: a guard from [`begin_write`](Self::begin_write); a closure that blocks;
    /// a handler, [data](WorkerBuilder::data) or a hook whose drop blocks; a write transaction of the application in a
    /// database that it has [attached](crate::Builder::attach); or the disk. The queue accepts no more calls, and is
    /// closed when the cause ends. Call `shutdown` again to wait for that.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.shutdown(Duration::from_secs(10)).await?;
    ///
    /// let late = pond.enqueue("billing", NewJob::json("charge", &7)).await;
    /// assert!(matches!(late, Err(Error::Closed)));
    /// # Ok(()) });
    /// ```
    pub fn shutdown(&self, deadline: Duration) -> Commit<()> {
        let engine = self.engine().clone();
        Commit::new(async move {
            engine.check_process()?;
            let stopped = shutdown(engine.clone(), deadline).await;
            // No thread could be started for the shutdown: the queue stops at once, and the file is closed later.
            stopped.unwrap_or(Err(Error::StillClosing { held_by: Occupant::Nobody.sentence() }))
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let runtime = self.runtime.take();
        if self.engine.is_forked() {
            // The engine belongs to another process: its threads do not exist in this one, and its locks may be held
            // for ever.
            std::mem::forget(runtime);
            return;
        }
        let has_stopped = stop_now(&self.engine);
        // A stepped engine has no threads that close the file: the caller that drives it does so.
        if !self.engine.is_stepped() {
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
