//! How a queue is opened: where its file is, and its settings for the whole process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::events::{DeadLetterHook, Event, EventBus};
use crate::job::Retention;
use crate::millpond::Millpond;
use crate::runtime::{Config, Setup, Steps, WINDOW_BYTES_MAX, WINDOW_JOBS_MAX, open};
use crate::storage::redb_types::{Database, StorageBackend};
use crate::storage::{BatchLimits, Opening, Store, unless_damaged};
use crate::time::{Clock, SystemClock};

/// redb's page cache unless set, in bytes.
const CACHE_BYTES_DEFAULT: usize = 32 << 20;

/// Largest payload unless set, in bytes.
const PAYLOAD_BYTES_DEFAULT: usize = 1 << 20;

/// Largest payload that may be set, in bytes: one job must fit into one call.
const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Largest result unless set, in bytes: as large as a payload.
const RESULT_BYTES_DEFAULT: usize = 1 << 20;

/// Largest result that may be set, in bytes: it is kept in its job's record, beside its payload.
const RESULT_BYTES_MAX: usize = 16 << 20;

/// Jobs that run at a time in this process unless set.
const RUNNING_DEFAULT: usize = 256;

/// Threads for blocking handlers unless set.
const BLOCKING_THREADS_DEFAULT: usize = 64;

/// Events a listener may be behind unless set.
const EVENTS_DEFAULT: usize = 1_024;

/// Events a listener may be behind, at most: the buffer is made when the queue is opened.
const EVENTS_MAX: usize = 1 << 20;

/// Longest linger that may be set: every commit waits that long, and so do all callers and the stop.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// How long the queue waits for the write transaction that somebody else holds, unless set.
const WRITE_WAIT_DEFAULT: Duration = Duration::from_secs(5);

/// Shortest and longest such wait that may be set: below it a transaction of ordinary length is in the way, above it a
/// caller that waits for itself seems to hang.
const WRITE_WAIT_MIN: Duration = Duration::from_millis(1);
const WRITE_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How a queue is opened. Every setting has a default.
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
    result_bytes_max: usize,
    max_running: usize,
    blocking_threads: usize,
    events: usize,
    linger: Duration,
    write_wait_max: Duration,
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
    retention: Option<Retention>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES_DEFAULT,
            payload_bytes_max: PAYLOAD_BYTES_DEFAULT,
            verify_payloads: false,
            result_bytes_max: RESULT_BYTES_DEFAULT,
            max_running: RUNNING_DEFAULT,
            blocking_threads: BLOCKING_THREADS_DEFAULT,
            events: EVENTS_DEFAULT,
            linger: Duration::ZERO,
            write_wait_max: WRITE_WAIT_DEFAULT,
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
            retention: None,
        }
    }
}

impl Builder {
    /// redb's page cache, in bytes. Default 32 MiB. Not used with [`attach`](Self::attach).
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// let pond = Millpond::builder().cache_bytes(8 << 20).open(dir.path().join("app.redb"))?;
    /// # Ok(()) }
    /// ```
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Largest payload, in bytes. Default 1 MiB, at most 16 MiB.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().payload_bytes_max(4).open_backend(memory)?;
    ///
    /// let refused = pond.enqueue("billing", NewJob::raw("charge", "order 7")).wait();
    /// assert!(matches!(refused, Err(Error::PayloadTooLarge { len: 7, max: 4, .. })));
    /// # Ok(()) }
    /// ```
    pub fn payload_bytes_max(mut self, bytes: usize) -> Self {
        self.payload_bytes_max = bytes;
        self
    }

    /// Whether each typed payload is read back when it is enqueued, and compared with what was written. Off by
    /// default; [`testing::in_memory`](crate::testing::in_memory) turns it on.
    ///
    /// Values that the codec itself cannot bring back are refused in any case, by
    /// [`Error::Unencodable`] with a [`PayloadError`](crate::PayloadError). This finds the rest, with
    /// the same error: types whose `Serialize` and `Deserialize` do not agree. A type that changes a value when
    /// it is read, say one that trims a text, is refused as well unless it writes the changed value. The order of maps
    /// and sets is not compared, nor is what no bytes are written of, such as a field with `skip_serializing`.
    ///
    /// It costs one more decoding and one more encoding of each payload, on the caller's thread.
    ///
    /// ```
    /// # use millpond::*;
    /// # use serde::{Deserialize, Serialize};
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
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
    /// # Ok(()) }
    /// ```
    pub fn verify_payloads(mut self, each: bool) -> Self {
        self.verify_payloads = each;
        self
    }

    /// Largest result ([`Outcome::done_with`](crate::Outcome::done_with)) in bytes; at most 16 MiB. Default 1 MiB.
    ///
    /// An attempt that answers with a larger one fails with
    /// [`FailureKind::OutputTooLarge`](crate::FailureKind::OutputTooLarge): nothing that it registered with
    /// [`Context::on_complete`](crate::Context::on_complete) is written, and its job is tried again as after any
    /// failed attempt, and goes to the dead letters when its attempts are used up. A plugin has a limit of its own
    /// instead, `PluginLimits::output_bytes`.
    ///
    /// ```
    /// # use millpond::{*, testing::drain};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().result_bytes_max(4).open_backend(memory)?;
    /// pond.worker("billing")
    ///     .retry(Retry::none())
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::done_with("receipt 7")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.errors[0].kind, FailureKind::OutputTooLarge);
    /// # Ok(()) }
    /// ```
    pub fn result_bytes_max(mut self, bytes: usize) -> Self {
        self.result_bytes_max = bytes;
        self
    }

    /// How many jobs run at a time in this process, over all workers. Default 256; can be changed
    /// while it runs.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().max_running(64).open_backend(memory)?;
    /// pond.set_max_running(128)?;
    /// # Ok(()) }
    /// ```
    pub fn max_running(mut self, jobs: usize) -> Self {
        self.max_running = jobs;
        self
    }

    /// Threads for blocking handlers, at most, over all workers; at least 1. Default 64.
    ///
    /// A job that needs a thread starts when one is free: until then it holds no slot, its timeout does not run,
    /// and [`explain`](Millpond::explain) answers [`Explanation::NoThread`](crate::Explanation::NoThread). Its queue waits with
    /// it, because its jobs go in order; other queues go on.
    ///
    /// ```
    /// # use millpond::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().blocking_threads(8).open_backend(memory)?;
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn blocking_threads(mut self, threads: usize) -> Self {
        self.blocking_threads = threads;
        self
    }

    /// How many events a listener may be behind before it misses some, rounded up to a power of two.
    /// Default 1,024, at most 1,048,576.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().events_buffer(4).open_backend(memory)?;
    /// let mut events = pond.events();
    /// pond.enqueue_many("billing", (0..10).map(|order| Charge { order })).await?;
    /// # pond.verify().await?;
    /// assert!(matches!(events.next().await, Some(Err(Missed { count: 6, .. }))));
    /// # Ok(()) }
    /// ```
    pub fn events_buffer(mut self, events: usize) -> Self {
        self.events = events;
        self
    }

    /// How long the writer waits for more before each commit. Default zero: what gathers while one
    /// commit waits for the disk makes the next one. A few milliseconds trade latency for fewer
    /// commits, which spares flash. At most 1 s.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().linger(Duration::from_millis(5)).open_backend(memory)?;
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long the queue waits for the file's write transaction while somebody else holds it: the application, in a
    /// database that it has given to [`attach`](Self::attach), or a guard from
    /// [`begin_write`](crate::Millpond::begin_write). Default 5 s; at least 1 ms, at most 1 hour.
    ///
    /// After it whoever waits is answered [`Error::WriteHeld`], and nothing of those calls is stored; later calls are
    /// answered [`Error::Degraded`] at once, until the transaction ends. Without this limit a caller that holds the
    /// transaction and waits for the queue would wait for ever. Raise it if the application has transactions that take
    /// longer.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// use redb::Database;
    /// use std::sync::Arc;
    ///
    /// let database = Arc::new(Database::create(dir.path().join("app.redb"))?);
    /// let pond = Millpond::builder().write_wait_max(Duration::from_millis(50)).attach(database.clone())?;
    ///
    /// let transaction = database.begin_write()?;
    /// let refused = pond.enqueue("billing", NewJob::json("charge", &7)).wait();
    /// assert!(matches!(refused, Err(Error::WriteHeld { .. })));
    /// # Ok(()) }
    /// ```
    pub fn write_wait_max(mut self, wait: Duration) -> Self {
        self.write_wait_max = wait;
        self
    }

    /// Lets [`open`](Self::open) add a queue to a redb file that an application made for itself.
    /// Without it such a file is refused as [`Error::NotAMillpond`].
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("app.redb");
    /// # drop(redb::Database::create(&path)?);
    /// assert!(matches!(Millpond::open(&path), Err(Error::NotAMillpond { .. })));
    /// let pond = Millpond::builder().adopt().open(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn adopt(mut self) -> Self {
        self.adopt = true;
        self
    }

    /// Goes through the whole file before anything runs: redb checks the checksum of each of its pages,
    /// then every record, index and count is held against the others, as
    /// [`verify`](crate::Millpond::verify) does. Records that cannot be read go into
    /// [`quarantine`](crate::Millpond::quarantine), indexes that cannot be read are made anew; what does
    /// not agree after that is [`Error::Inconsistent`]. It reads everything: seconds per GB.
    ///
    /// redb's own check is left out with [`attach`](Self::attach): the application has the database open.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// let pond = Millpond::builder().verify_on_open().open(dir.path().join("app.redb"))?;
    /// # Ok(()) }
    /// ```
    pub fn verify_on_open(mut self) -> Self {
        self.verify = true;
        self
    }

    /// Whether the file is made small again by itself. Default: yes, when it has between 4 MiB and 1 GiB of
    /// which at most a quarter is in use, and nothing was committed and nothing ran for a minute; and at
    /// [`shutdown`](crate::Millpond::shutdown), 32 MiB of it for each second left until the deadline. Calls wait
    /// during compaction. It is put off while a read transaction is open. A database that is given to
    /// [`attach`](Self::attach) is never compacted: that is up to its application.
    ///
    /// ```
    /// # use millpond::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().compaction(false).open_backend(memory)?;
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn compaction(mut self, by_itself: bool) -> Self {
        self.compaction = by_itself;
        self
    }

    /// Seeds all randomness: the jitter of retries, and the random numbers that plugins ask for. It is for tests that must
    /// be reproducible; do not use it where a plugin makes secrets of random numbers. Default: no seed. The jitter is then
    /// random, and plugins get random numbers of the operating system.
    ///
    /// ```
    /// # use millpond::*;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let pond = Millpond::builder().seed(42).open_backend(memory)?;
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where the time is read. Default: the machine's clocks.
    ///
    /// ```
    /// # use millpond::{*, testing::{ManualClock}};
    /// # use std::time::Duration;
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let clock = ManualClock::new();
    /// let pond = Millpond::builder().clock(clock.clone()).open_backend(memory)?;
    /// clock.advance(Duration::from_secs(3600));
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The runtime that async handlers run on; it must have its timer enabled. Default: the one this
    /// is called in, or, called outside of any, one of its own.
    ///
    /// It must live as long as the queue. If it ends before, what ran on it goes back, no attempt used; the queue says
    /// [`degraded`](crate::Millpond::degraded), and workers with async handlers are stopped and cannot be started again
    /// until the queue is opened anew. Calls and blocking handlers go on.
    ///
    /// ```
    /// # use millpond::*;
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let pond = Millpond::builder().runtime(runtime.handle().clone()).open_backend(memory)?;
    /// # pond.shutdown(Duration::ZERO).wait()?;
    /// # Ok(()) }
    /// ```
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Called with the [`Event::Dead`] that puts the first job into a queue's empty dead-letter
    /// table. It runs on the writer's thread, or on that of a caller that waits with `.wait()` and makes its own
    /// commit. Everybody waits for it: hand the work on and return. Calls that wait
    /// for the queue are answered [`Error::WouldDeadlock`] in it. It is dropped when the queue is closed; a handle of the
    /// queue in it keeps the queue open until a [`shutdown`](Millpond::shutdown).
    ///
    /// ```
    /// # use millpond::{*, testing::{drain}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// let (alarm, alarms) = std::sync::mpsc::channel();
    /// let pond = Millpond::builder()
    ///     .on_first_dead_letter(move |event| drop(alarm.send(event.clone())))
    ///     .open_backend(memory)?;
    /// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(Outcome::dead_letter("card expired")) }).start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// assert!(matches!(alarms.recv()?, Event::Dead { first: true, .. }));
    /// # Ok(()) }
    /// ```
    pub fn on_first_dead_letter(mut self, hook: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// How long ended jobs are kept in queues that have no retention of their own. Default: [`Retention::default`].
    ///
    /// A queue has one of its own once [`Queue::configure`](crate::Queue::configure) has given it one that differs from
    /// [`Retention::default`]. That one is durable; this one is not, and holds for this opening of the file. It holds for
    /// jobs that have ended before as well.
    ///
    /// ```
    /// # use millpond::{*, testing::drain};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let memory = redb::backends::InMemoryBackend::new();
    /// use std::time::Duration;
    ///
    /// let hour = Keep::new(Duration::from_secs(3600), 1_000);
    /// let pond = Millpond::builder().retention(Retention::default().completed(hour)).open_backend(memory)?;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Completed); // by default it would not be kept
    /// # Ok(()) }
    /// ```
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Opens the file at `path`, or creates it.
    ///
    /// # Errors
    /// [`Error::NotAMillpond`], [`Error::EmptyFile`], [`Error::Corrupt`], [`Error::Inconsistent`], [`Error::TooNew`],
    /// [`Error::AlreadyOpen`], [`Error::StorageFull`], [`Error::Io`] for the file; [`Error::InvalidConfig`] for a
    /// setting.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// let text = dir.path().join("notes.txt");
    /// std::fs::write(&text, "not a queue")?;
    /// assert!(matches!(Millpond::builder().open(&text), Err(Error::NotAMillpond { .. })));
    ///
    /// let pond = Millpond::builder().open(dir.path().join("app.redb"))?;
    /// # Ok(()) }
    /// ```
    pub fn open(self, path: impl AsRef<Path>) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::open(path.as_ref(), self.opening())?;
            self.start(store)
        })
    }

    /// Lives in the application's own database. Millpond's tables' names begin with `millpond/`.
    ///
    /// After an I/O error redb refuses writes, and reads of what it does not have in memory, until the database is opened
    /// again, which only the application can do here: the queue stays [`Degraded`](Error::Degraded) until then. Nor is it
    /// noticed here that the file was deleted.
    ///
    /// The application must not wait for the queue while it holds a write transaction of its own: such a call could only
    /// wait for itself, and is answered [`Error::WriteHeld`] after [`write_wait_max`](Self::write_wait_max).
    ///
    /// **Savepoints.** If the application restores one of redb's savepoints, the queue's tables go back as well: jobs that have ended since
    /// then are back and run again, and jobs that were enqueued since then are gone, although they were acknowledged. The next
    /// commit notices this and fails with [`Error::Degraded`], and so does every later call, because ids would be given out
    /// twice. Until that commit a worker can start jobs that had ended. So shut the queue down before you restore a savepoint, and attach
    /// the database again afterwards.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), less those of the file.
    ///
    /// ```
    /// # use millpond::*;
    /// # fn main() -> Result<(), millpond::BoxError> {
    /// # let dir = tempfile::tempdir()?;
    /// use redb::Database;
    /// use std::sync::Arc;
    ///
    /// let database = Arc::new(Database::create(dir.path().join("app.redb"))?);
    /// let pond = Millpond::builder().attach(database.clone())?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// # Ok(()) }
    /// ```
    pub fn attach(self, database: Arc<Database>) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::attach(database, self.write_wait_max)?;
            self.start(store)
        })
    }

    /// Lives on a storage backend of redb's: memory, for tests, or one of your own.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach).
    ///
    /// ```
    /// # use millpond::*;
    /// use redb::backends::InMemoryBackend;
    ///
    /// let pond = Millpond::builder().open_backend(InMemoryBackend::new())?;
    /// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
    /// # Ok::<(), millpond::BoxError>(())
    /// ```
    pub fn open_backend(self, backend: impl StorageBackend) -> Result<Millpond, Error> {
        self.check()?;
        unless_damaged(|| {
            let store = Store::with_backend(backend, self.opening())?;
            self.start(store)
        })
    }

    /// Lives on a storage backend of redb's that can be had again: `open` gives it at once, and once more
    /// after each I/O error, when the one before is dropped. The queue heals by that. `open` must not call the queue, which
    /// waits for it.
    ///
    /// # Errors
    /// Those of [`attach`](Self::attach), and what `open` answers.
    ///
    /// ```
    /// # use millpond::*;
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
    /// # Ok::<(), millpond::BoxError>(())
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

    /// [`Self::open_backend_with`], without threads.
    /// For simulations: so few ready jobs are held in memory per queue.
    #[doc(hidden)]
    pub fn window_jobs_max(mut self, jobs: usize) -> Self {
        self.window_jobs_max = jobs.max(1);
        self
    }

    /// How many bytes of ready jobs are held in memory, for tests.
    #[doc(hidden)]
    pub fn window_bytes_max(mut self, bytes: usize) -> Self {
        self.window_bytes_max = bytes.max(1);
        self
    }

    /// How many bytes one command of many jobs moves, and in proportion how many one commit, for tests.
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
        Ok(())
    }

    fn start(self, store: Store) -> Result<Millpond, Error> {
        let (setup, own) = self.setup(store)?;
        let engine = open(setup)?;
        Ok(Millpond::new(engine, own))
    }

    /// The settings, and the async runtime if it has to be the queue's own.
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
            bus: EventBus::new(self.events, self.hook),
            config: Config {
                linger: self.linger,
                write_wait_max: self.write_wait_max,
                verify_on_open: self.verify,
                compaction: self.compaction,
                result_bytes_max: self.result_bytes_max,
                stepped: false,
            },
            running_max: self.max_running,
            blocking_threads: self.blocking_threads,
            payload_bytes_max: self.payload_bytes_max,
            verify_payloads: self.verify_payloads,
            window_jobs_max: self.window_jobs_max,
            window_bytes_max: self.window_bytes_max,
            batch_limits: self.batch_limits,
            retention: self.retention,
            seed: self.seed,
        };
        Ok((setup, own))
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("max_running", &self.max_running).finish_non_exhaustive()
    }
}
