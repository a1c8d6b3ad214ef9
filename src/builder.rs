//! The builder that opens a file: where the file is, and the settings for the whole process.

mod alarms;
mod hooks;
mod limits;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::alarms::Alarm;
use crate::error::{BoxError, Error};
use crate::events::{DeadLetterHook, Event, EventBus};
use crate::handler::Middleware;
use crate::job::{Coder, DeadJob, EnqueueHooks, PayloadCodec, Retention, check_name};
use crate::millpond::Millpond;
use crate::runtime::{Config, Setup, Steps, WINDOW_BYTES_MAX, WINDOW_JOBS_MAX, open};
use crate::storage::redb_types::{Database, StorageBackend};
use crate::storage::{BatchLimits, Opening, Store, unless_damaged};
use crate::time::{Clock, SystemClock};
use crate::transaction::Transaction;
use crate::writer::DeadHook;

/// Default size of redb's page cache, in bytes.
const CACHE_BYTES_DEFAULT: usize = 32 << 20;

/// Default limit of a payload, in bytes.
const PAYLOAD_BYTES_DEFAULT: usize = 1 << 20;

/// Highest limit of a payload, in bytes: one job must fit into one call.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Default limit of a result, in bytes: the same as for a payload.
const RESULT_BYTES_DEFAULT: usize = 1 << 20;

/// Highest limit of a result, in bytes: it is stored in its job's record, together with the payload.
const RESULT_BYTES_MAX: usize = 16 << 20;

/// Default limit of jobs that run at the same time in this process.
const RUNNING_DEFAULT: usize = 256;

/// Default limit of threads for blocking handlers.
const BLOCKING_THREADS_DEFAULT: usize = 64;

/// Default number of events that a listener may be behind.
const EVENTS_DEFAULT: usize = 1_024;

/// Highest number of events that a listener may be behind: the buffer is allocated when the file is opened.
const EVENTS_MAX: usize = 1 << 20;

/// How long an async handler may go on after the cancel of its job was requested.
const CANCEL_GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Longest linger: every commit waits that long, and so do all callers and the shutdown.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Default time that the queue waits for a write transaction that the application holds.
const WRITE_WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// Shortest and longest such wait. With a shorter one, a transaction of ordinary length would be an error; with a
/// longer one, a caller that waits for itself would seem to hang.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(1);
const WRITE_WAIT_MAX: Duration = Duration::from_secs(3600);

/// Opens a file, or creates it. Every setting has a default.
///
/// ```no_run
/// # fn example() -> Result<(), millpond::Error> {
/// let pond = millpond::Millpond::builder()
///     .max_running(64)
///     .cache_bytes(8 << 20)
///     .on_first_dead_letter(|event| eprintln!("look at this: {event:?}"))
///     .open("app.redb")?;
/// # let _ = pond; Ok(()) }
/// ```
#[must_use = "nothing is opened until `open`, `attach` or `in_memory` is called"]
pub struct Builder {
    cache_bytes: usize,
    payload_bytes_max: usize,
    verify_payloads: bool,
    coder: Coder,
    result_bytes_max: usize,
    max_running: usize,
    blocking_threads: usize,
    events: usize,
    linger: Duration,
    write_wait_max: Duration,
    cancel_grace: Duration,
    adopt: bool,
    verify: bool,
    compaction: bool,
    window_jobs_max: usize,
    window_bytes_max: usize,
    batch_limits: BatchLimits,
    seed: Option<u64>,
    clock: Arc<dyn Clock>,
    runtime: Option<tokio::runtime::Handle>,
    hook: Option<DeadLetterHook>,
    on_dead: Option<DeadHook>,
    retention: Option<Retention>,
    enqueue_hooks: EnqueueHooks,
    events_to: Option<String>,
    middleware: Middleware,
    limits: Vec<(Arc<str>, u32)>,
    alarms: Vec<Alarm>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES_DEFAULT,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            verify_payloads: false,
            coder: Coder::default(),
            result_bytes_max: RESULT_BYTES_DEFAULT,
            max_running: RUNNING_DEFAULT,
            blocking_threads: BLOCKING_THREADS_DEFAULT,
            events: EVENTS_DEFAULT,
            linger: Duration::ZERO,
            write_wait_max: WRITE_WAIT_DEFAULT,
            cancel_grace: CANCEL_GRACE_DEFAULT,
            adopt: false,
            verify: false,
            compaction: true,
            window_jobs_max: WINDOW_JOBS_MAX,
            window_bytes_max: WINDOW_BYTES_MAX,
            batch_limits: BatchLimits::default(),
            seed: None,
            clock: Arc::new(SystemClock::new()),
            runtime: None,
            hook: None,
            on_dead: None,
            retention: None,
            enqueue_hooks: EnqueueHooks::default(),
            events_to: None,
            middleware: Middleware::default(),
            limits: Vec::new(),
            alarms: Vec::new(),
        }
    }
}

impl Builder {
    /// The size of redb's page cache, in bytes. Default 32 MiB. It has no effect with [`attach`](Self::attach).
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// let pond = Millpond::builder().cache_bytes(8 << 20).open(dir.path().join("app.redb"))?;
    /// # Ok(()) });
    /// ```
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The limit of a payload, in bytes. Default 1 MiB, at most 16 MiB.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().payload_bytes_max(4).open_backend(memory)?;
    ///
    /// let refused = pond.enqueue("billing", NewJob::raw("charge", "order 7")).wait();
    /// assert!(matches!(refused, Err(Error::PayloadTooLarge { len: 7, max: 4, .. })));
    /// # Ok(()) });
    /// ```
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.payload_bytes_max = bytes;
        self
    }

    /// Whether each typed payload is read back when it is enqueued, and compared with the bytes that were written. Off
    /// by default; [`testing::in_memory`](crate::testing::in_memory) turns it on.
    ///
    /// Values that the codec itself cannot restore are always refused, with [`Error::Unencodable`] and a
    /// [`PayloadError`](crate::PayloadError). With this setting the same error also reports types whose `Serialize` and
    /// `Deserialize` do not agree. A type that changes a value when it is read, for example by trimming a text, is
    /// refused as well, unless it also writes the changed value. The order of maps and sets is not compared. Neither is
    /// anything that is not written, such as a field with `skip_serializing`.
    ///
    /// It decodes and encodes each payload once more, on the caller's thread.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// #[derive(Serialize, Deserialize)]
    /// struct Charge {
    ///     #[serde(rename(serialize = "order_id"))] // read as `order`
    ///     order: u64,
    /// }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    ///
    /// let pond = Millpond::builder().verify_payloads(true).open_backend(memory)?;
    /// let refused = pond.enqueue("billing", Charge { order: 7 }).wait();
    /// assert!(matches!(refused, Err(Error::Unencodable { .. })));
    /// # Ok(()) });
    /// ```
    pub fn verify_payloads(mut self, each: bool) -> Self {
        self.verify_payloads = each;
        self
    }

    /// The codec that payloads, results and error texts pass on their way into the file and out of it, for example to encrypt
    /// or to compress them. Default: none. [`PayloadCodec`] says what passes it, and what its errors mean.
    ///
    /// From then on the file can be opened with a codec of that name only, because what is stored cannot be read without
    /// it: otherwise [`Error::OtherPayloadCodec`]. The codec is dropped when the file is closed, and must not hold a handle
    /// of the queue.
    ///
    /// The limits of payloads and results count the bytes that were given. What the codec makes of them can have an eighth
    /// and 1 KiB more, or is refused.
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// # let path = dir.path().join("app.redb");
    /// let pond = Millpond::builder().payload_codec(Backwards).open(&path)?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).wait()?;
    /// assert_eq!(pond.job(id)?.payload.decode::<Charge>()?.order, 7);
    /// # pond.shutdown(Duration::ZERO).wait()?;
    /// drop(pond);
    ///
    /// let without = Millpond::open(&path);
    /// assert!(matches!(without, Err(Error::OtherPayloadCodec { stored, given: None, .. }) if stored == "backwards"));
    /// # Ok(()) });
    /// ```
    pub fn payload_codec(mut self, codec: impl PayloadCodec) -> Self {
        self.coder = Coder::new(codec);
        self
    }

    /// The limit of a result ([`Outcome::done_with`](crate::Outcome::done_with)), in bytes. Default 1 MiB, at most 16
    /// MiB.
    ///
    /// An attempt that returns a larger result fails with
    /// [`FailureKind::OutputTooLarge`](crate::FailureKind::OutputTooLarge): nothing that it registered with
    /// [`Context::on_complete`](crate::Context::on_complete) is written. As after any failed attempt, the job is
    /// retried, and becomes a dead letter when its attempts are used up. A plugin has its own limit instead,
    /// `PluginLimits::output_bytes`.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().result_bytes_max(4).open_backend(memory)?;
    /// pond.worker("billing")
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::done_with("receipt 7")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.errors[0].kind, FailureKind::OutputTooLarge);
    /// # Ok(()) });
    /// ```
    pub fn result_bytes_max(mut self, bytes: usize) -> Self {
        self.result_bytes_max = bytes;
        self
    }

    /// How many jobs of all workers together run at the same time in this process. Default 256.
    /// [`set_max_running`](Millpond::set_max_running) changes it later.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().max_running(64).open_backend(memory)?;
    /// pond.set_max_running(128)?;
    /// # Ok(()) });
    /// ```
    pub fn max_running(mut self, jobs: usize) -> Self {
        self.max_running = jobs;
        self
    }

    /// The limit of threads for the blocking handlers of all workers together; at least 1. Default 64.
    ///
    /// A job that needs a thread starts when one is free. Until then it uses no slot, its timeout does not run, and
    /// [`explain`](Millpond::explain) returns [`Explanation::NoThread`](crate::Explanation::NoThread). The jobs after
    /// it in its queue wait as well, because a queue's jobs start in order; other queues continue.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().blocking_threads(8).open_backend(memory)?;
    /// # Ok(()) });
    /// ```
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// How many events a listener may be behind before it misses events; rounded up to a power of two. Default 1,024,
    /// at most 1,048,576.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().events_buffer(4).open_backend(memory)?;
    /// let mut events = pond.events();
    /// pond.enqueue_many("billing", (0..10).map(|order| Charge { order })).await?;
    /// # pond.verify().await?;
    /// assert!(matches!(events.next().await, Some(Err(Missed { count: 6, .. }))));
    /// # Ok(()) });
    /// ```
    pub fn events_buffer(mut self, events: usize) -> Self {
        self.events = events;
        self
    }

    /// How long the writer waits for more calls before each commit. Default zero: the calls that arrive during one
    /// commit form the next one. A few milliseconds make commits fewer and slower, which causes less wear of flash
    /// memory. At most 1 s.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().linger(Duration::from_millis(5)).open_backend(memory)?;
    /// # Ok(()) });
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long the queue waits for the file's write transaction while the application holds it: in a database that was
    /// passed to [`attach`](Self::attach), or by a guard from [`begin_write`](crate::Millpond::begin_write). Default 5
    /// s; at least 1 ms, at most 1 hour.
    ///
    /// After that time, waiting calls fail with [`Error::WriteHeld`], and nothing of them is stored. Later calls fail
    /// with [`Error::Degraded`] at once, until the transaction ends. Without this limit, a caller that holds the
    /// transaction and waits for the queue would wait for ever. Raise it if the application has transactions that take
    /// longer.
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// use redb::Database;
    /// use std::sync::Arc;
    ///
    /// let database = Arc::new(Database::create(dir.path().join("app.redb"))?);
    /// let pond = Millpond::builder().write_wait_max(Duration::from_millis(50)).attach(database.clone())?;
    ///
    /// let transaction = database.begin_write()?;
    /// let refused = pond.enqueue("billing", NewJob::json("charge", &7)).wait();
    /// assert!(matches!(refused, Err(Error::WriteHeld { .. })));
    /// # Ok(()) });
    /// ```
    pub fn write_wait_max(mut self, wait: Duration) -> Self {
        self.write_wait_max = wait;
        self
    }

    /// How long an async handler may go on after a [cancel](Millpond::cancel) of its job was requested; 30 s by default. After
    /// that it is dropped at its next await. A blocking handler cannot be dropped: it keeps its slot until it returns. A plugin
    /// that has asked in this attempt whether it is cancelled has the same time, and is interrupted after it; any other is
    /// interrupted at once.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let builder = Millpond::builder().cancel_grace(Duration::from_secs(5));
    /// ```
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.cancel_grace = grace;
        self
    }

    /// Lets [`open`](Self::open) add the queue's tables to a redb file that an application has created. Without this
    /// setting, such a file is refused with [`Error::NotAMillpond`].
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// # let path = dir.path().join("app.redb");
    /// # drop(redb::Database::create(&path)?);
    /// assert!(matches!(Millpond::open(&path), Err(Error::NotAMillpond { .. })));
    /// let pond = Millpond::builder().adopt().open(&path)?;
    /// # Ok(()) });
    /// ```
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Checks the whole file before any job runs: redb checks the checksum of each of its pages, then records, indexes
    /// and counts are compared with each other as in [`verify`](crate::Millpond::verify). Records that cannot be read
    /// are moved to the [`quarantine`](crate::Millpond::quarantine), and indexes that cannot be read are rebuilt. An
    /// inconsistency that remains is [`Error::Inconsistent`]. The whole file is read: this takes seconds per GB.
    ///
    /// With [`attach`](Self::attach), redb's own check is not made, because the application has the database open.
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// let pond = Millpond::builder().verify_on_open().open(dir.path().join("app.redb"))?;
    /// # Ok(()) });
    /// ```
    pub fn verify_on_open(mut self) -> Self {
        self.verify = true;
        self
    }

    /// Whether the file is compacted automatically. Default: yes. It happens when the file has between 4 MiB and 1 GiB
    /// of which at most a quarter is in use, and nothing was committed and nothing ran for a minute. It also happens at
    /// [`shutdown`](crate::Millpond::shutdown), for up to 32 MiB per second that is left until the deadline. Calls wait
    /// during compaction. There is no compaction while a read transaction is open. A database that was passed to
    /// [`attach`](Self::attach) is never compacted: the application can do that itself.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().compaction(false).open_backend(memory)?;
    /// # Ok(()) });
    /// ```
    pub fn compaction(mut self, by_itself: bool) -> Self {
        self.compaction = by_itself;
        self
    }

    /// The seed of all randomness: of the jitter of retries, and of the random numbers that plugins ask for. It is for
    /// tests that must be reproducible; do not use it where a plugin makes secrets of random numbers. Default: no seed.
    /// The jitter is then random, and plugins get random numbers from the operating system.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let pond = Millpond::builder().seed(42).open_backend(memory)?;
    /// # Ok(()) });
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The clock that the queue reads. Default: the machine's clocks.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let clock = ManualClock::new();
    /// let pond = Millpond::builder().clock(clock.clone()).open_backend(memory)?;
    /// clock.advance(Duration::from_secs(3600));
    /// # Ok(()) });
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The tokio runtime that async handlers run on; its timer must be enabled. Default: the runtime in which the file
    /// is opened, or, outside of any runtime, a new one.
    ///
    /// The runtime must exist for as long as the file is open. If it ends earlier, the jobs that ran on it return to
    /// their queues without using up an attempt, the queue is [`degraded`](crate::Millpond::degraded), and workers with
    /// async handlers are stopped. They cannot be started again until the file is opened anew. Calls and blocking
    /// handlers continue.
    ///
    /// ```
    /// # doc_prelude::with_memory(|memory| { use doc_prelude::*;
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let pond = Millpond::builder().runtime(runtime.handle().clone()).open_backend(memory)?;
    /// # pond.shutdown(Duration::ZERO).wait()?;
    /// # Ok(()) });
    /// ```
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// A hook that is called with an [`Event::Dead`] when a queue that had no dead letters gets its first one. It runs
    /// on the writer's thread, or on the thread of a caller that makes its own commit with `.wait()`. All other calls
    /// wait for it, so it should pass the work on to another thread and return. Calls in it that wait for the queue
    /// return [`Error::WouldDeadlock`]. The hook is dropped when the file is closed. If it holds a handle of the queue,
    /// the file stays open until a [`shutdown`](Millpond::shutdown).
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let (alarm, alarms) = std::sync::mpsc::channel();
    /// let pond = Millpond::builder()
    ///     .on_first_dead_letter(move |event| drop(alarm.send(event.clone())))
    ///     .open_backend(memory)?;
    /// # dead_letters(&pond, "card expired", [7]).await?;
    /// assert!(matches!(alarms.recv()?, Event::Dead { first: true, .. }));
    /// # Ok(()) });
    /// ```
    pub fn on_first_dead_letter(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// A hook that is called for each job that becomes a dead letter, in the commit that makes it one. Everything that the
    /// hook writes, such as rows of the application or a job that sends an alert, is committed together with the dead
    /// letter or not at all.
    ///
    /// It is called for every cause: a failed attempt without another one left, [`Outcome::dead_letter`], a payload that
    /// cannot be decoded, writes with a completion that fail in the last attempt, a crash in the last attempt. After a
    /// crash it is called while the file is opened, before `open` returns. It is not called for jobs that are cancelled or
    /// expire.
    ///
    /// If the hook returns an error or panics, its writes are rolled back, and the job is a dead letter without them. This
    /// is logged as an error and published as [`Event::OnDeadFailed`]. If a redriven job becomes a dead letter again, the
    /// hook is called again.
    ///
    /// It runs on the writer's thread, or on the thread of a caller that makes its own commit with `.wait()`. All other
    /// calls wait for it, so it should only write. Calls in it that wait for the queue return [`Error::WouldDeadlock`]. It
    /// can be called more than once for one dead letter, if the commit has to be repeated: only the writes of the last call
    /// count. It can enqueue as much as one transaction. It is dropped when the file is closed.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder()
    ///     .on_dead(|tx, dead| {
    ///         let text = format!("{} {} failed for good: {}", dead.kind(), dead.id(), dead.reason());
    ///         tx.enqueue("alerts", NewJob::json("alert", &text))?;
    ///         Ok(())
    ///     })
    ///     .open_backend(memory)?;
    /// # dead_letters(&pond, "card expired", [7]).await?;
    /// assert_eq!(pond.queue("alerts")?.counts().pending, 1);
    /// # Ok(()) });
    /// ```
    ///
    /// [`Outcome::dead_letter`]: crate::Outcome::dead_letter
    pub fn on_dead(
        mut self,
        hook: impl Fn(&Transaction<'_>, &DeadJob<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.on_dead = Some(DeadHook::new(hook));
        self
    }

    /// How long ended jobs are kept in queues without a retention of their own. Default: [`Retention::default`].
    ///
    /// A queue has its own retention once [`Queue::configure`](crate::Queue::configure) has set one that differs from
    /// [`Retention::default`]. That setting is durable. This one is not: it applies until the file is closed, also to
    /// jobs that have already ended.
    ///
    /// ```
    /// # doc_prelude::block_on(async { use doc_prelude::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// use std::time::Duration;
    ///
    /// let hour = Keep::new(Duration::from_secs(3600), 1_000);
    /// let pond = Millpond::builder().retention(Retention::default().completed(hour)).open_backend(memory)?;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Completed); // by default it would not be kept
    /// # Ok(()) });
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// [`Error::NotAMillpond`], [`Error::EmptyFile`], [`Error::Corrupt`], [`Error::Inconsistent`], [`Error::TooNew`],
    /// [`Error::AlreadyOpen`], [`Error::OtherPayloadCodec`], [`Error::StorageFull`], [`Error::Io`] because of the file;
    /// [`Error::InvalidConfig`] for a setting.
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// let text = dir.path().join("notes.txt");
    /// std::fs::write(&text, "not a queue")?;
    /// assert!(matches!(Millpond::builder().open(&text), Err(Error::NotAMillpond { .. })));
    ///
    /// let pond = Millpond::builder().open(dir.path().join("app.redb"))?;
    /// # Ok(()) });
    /// ```
    pub fn open(self, path: impl AsRef<Path>) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::open(path.as_ref(), self.opening())?;
            self.start(store)
        })
    }

    /// Opens the queue in the application's own database. The names of Millpond's tables begin with `millpond/`.
    ///
    /// After an I/O error, redb refuses writes, and reads of pages that it does not have in memory, until the database
    /// is opened again. Here only the application can do that, and the queue stays [`Degraded`](Error::Degraded) until
    /// then. The queue also does not notice here that the file was deleted.
    ///
    /// The application must not wait for the queue while it holds a write transaction of its own. Such a call waits for
    /// itself, and fails with [`Error::WriteHeld`] after [`write_wait_max`](Self::write_wait_max).
    ///
    /// **Savepoints.** If the application restores one of redb's savepoints, the queue's tables are restored as well:
    /// jobs that have ended since the savepoint exist again and run again, and jobs that were enqueued since then are
    /// gone, although they were acknowledged. The next commit notices this and fails with [`Error::Degraded`], as does
    /// every later call, because ids would be assigned twice. Until that commit, a worker can start jobs that had
    /// ended. Shut the queue down before you restore a savepoint, and attach the database again afterwards.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), without those that concern opening a file.
    ///
    /// ```
    /// # doc_prelude::with_dir(|dir| { use doc_prelude::*;
    /// use redb::Database;
    /// use std::sync::Arc;
    ///
    /// let database = Arc::new(Database::create(dir.path().join("app.redb"))?);
    /// let pond = Millpond::builder().attach(database.clone())?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// # Ok(()) });
    /// ```
    pub fn attach(self, database: Arc<Database>) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::attach(database, self.write_wait_max)?;
            self.start(store)
        })
    }

    /// Opens the queue on a redb storage backend: memory, for tests, or one of your own.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use redb::backends::InMemoryBackend;
    ///
    /// let pond = Millpond::builder().open_backend(InMemoryBackend::new())?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn open_backend(self, backend: impl StorageBackend) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::with_backend(backend, self.opening())?;
            self.start(store)
        })
    }

    /// Opens the queue on a redb storage backend that can be opened again. `open` is called once now, and again after
    /// each I/O error, when the previous backend has been dropped; this is how the queue recovers. `open` must not call
    /// the queue, because the queue waits for it.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach), and the errors of `open`.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// use redb::backends::FileBackend;
    /// use std::fs::OpenOptions;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.redb");
    /// let open = move || {
    ///     let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
    ///     FileBackend::new(file).map_err(std::io::Error::other)
    /// };
    /// let pond = Millpond::builder().open_backend_with(open)?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn open_backend_with<B: StorageBackend>(
        self,
        open: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
    ) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::with_backends(open, self.opening())?;
            self.start(store)
        })
    }

    /// [`Self::open_backend_with`] without threads, for tests that drive every step. For simulations: how many ready
    /// jobs are held in memory per queue.
    #[doc(hidden)]
    pub fn window_jobs_max(mut self, jobs: usize) -> Self {
        self.window_jobs_max = jobs.max(1);
        self
    }

    /// For tests: how many bytes of ready jobs are held in memory per queue.
    #[doc(hidden)]
    pub fn window_bytes_max(mut self, bytes: usize) -> Self {
        self.window_bytes_max = bytes.max(1);
        self
    }

    /// For tests: how many bytes one command on many jobs moves; the limit of a commit changes in proportion.
    #[doc(hidden)]
    pub fn batch_bytes_max(mut self, bytes: u64) -> Self {
        self.batch_limits = BatchLimits::small(bytes.max(1));
        self
    }

    pub(crate) fn open_steps<B: StorageBackend>(
        self,
        open: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
    ) -> Result<(Millpond, Steps), Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::with_backends(open, self.opening())?;
            let (setup, own) = self.setup(store)?;
            let (engine, steps) = Steps::open(setup)?;
            Ok((Millpond::new(engine, own), steps))
        })
    }

    fn opening(&self) -> Opening {
        Opening { cache_bytes: self.cache_bytes, adopt: self.adopt, check: self.verify }
    }

    fn check(&self) -> Result<(), Error> {
        for (field, value) in [
            ("payload_bytes_max", self.payload_bytes_max),
            ("result_bytes_max", self.result_bytes_max),
            ("max_running", self.max_running),
            ("blocking_threads", self.blocking_threads),
            ("events_buffer", self.events),
        ] {
            if value == 0 {
                return Err(Error::config(field, "it must be at least 1".into()));
            }
        }
        if let Some(name) = self.coder.name() {
            check_name("payload codec", name)?;
        }
        if self.events > EVENTS_MAX {
            let reason = format!("{} is above {EVENTS_MAX}, the most that is kept for a listener", self.events);
            return Err(Error::config("events_buffer", reason));
        }
        if self.linger > LINGER_MAX {
            let reason = format!("{:?} is above {LINGER_MAX:?}: each commit waits that long", self.linger);
            return Err(Error::config("linger", reason));
        }
        if !(WRITE_WAIT_MIN..=WRITE_WAIT_MAX).contains(&self.write_wait_max) {
            let reason = format!("{:?} is not from {WRITE_WAIT_MIN:?} to {WRITE_WAIT_MAX:?}", self.write_wait_max);
            return Err(Error::config("write_wait_max", reason));
        }
        if self.payload_bytes_max > PAYLOAD_BYTES_MAX {
            let reason = format!("{} is above {PAYLOAD_BYTES_MAX}, the most a job can carry", self.payload_bytes_max);
            return Err(Error::config("payload_bytes_max", reason));
        }
        if self.result_bytes_max > RESULT_BYTES_MAX {
            let reason = format!("{} is above {RESULT_BYTES_MAX}, the most a job can answer", self.result_bytes_max);
            return Err(Error::config("result_bytes_max", reason));
        }
        if let Some(stream) = &self.events_to {
            check_name("stream", stream)?;
        }
        self.check_alarms()?;
        self.check_limits()
    }

    fn start(self, store: Store) -> Result<Millpond, Error> {
        let (setup, own) = self.setup(store)?;
        let engine = open(setup)?;
        Ok(Millpond::new(engine, own))
    }

    /// The settings, and the async runtime if the queue needs one of its own.
    fn setup(self, store: Store) -> Result<(Setup, Option<tokio::runtime::Runtime>), Error> {
        let (runtime, own) = match self.runtime.or_else(|| tokio::runtime::Handle::try_current().ok()) {
            Some(handle) => (handle, None),
            None => {
                let failed = |source| Error::Storage { operation: "start an async runtime", source: Box::new(source) };
                let own = tokio::runtime::Builder::new_multi_thread()
                    .thread_name("millpond-async")
                    .enable_all()
                    .build()
                    .map_err(failed)?;
                (own.handle().clone(), Some(own))
            }
        };
        let setup = Setup {
            store,
            clock: self.clock,
            runtime,
            bus: Arc::new(EventBus::new(self.events, self.hook)),
            config: Config {
                linger: self.linger,
                cancel_grace: self.cancel_grace,
                write_wait_max: self.write_wait_max,
                verify_on_open: self.verify,
                compaction: self.compaction,
                result_bytes_max: self.result_bytes_max,
                stepped: false,
                limits: self.limits,
                middleware: self.middleware,
            },
            running_max: self.max_running,
            blocking_threads: self.blocking_threads,
            payload_bytes_max: self.payload_bytes_max,
            verify_payloads: self.verify_payloads,
            coder: self.coder,
            enqueue_hooks: self.enqueue_hooks,
            events_to: self.events_to.map(Into::into),
            window_jobs_max: self.window_jobs_max,
            window_bytes_max: self.window_bytes_max,
            batch_limits: self.batch_limits,
            retention: self.retention,
            on_dead: self.on_dead,
            seed: self.seed,
            alarms: self.alarms,
        };
        Ok((setup, own))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("max_running", &self.max_running).finish_non_exhaustive()
    }
}
