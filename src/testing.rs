//! Helpers for tests of applications: a queue in memory, a clock that the test advances, running everything that is
//! due, checking what was enqueued, running one handler on one payload.
//!
//! ```
//! use millpond::testing::{self, ManualClock};
//! use millpond::{Job, Kind, NewJob, State};
//! use serde::{Deserialize, Serialize};
//! use std::time::Duration;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Remind { user: u64 }
//! impl Kind for Remind { const KIND: &'static str = "remind"; }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::Error> {
//! let clock = ManualClock::new();
//! let pond = testing::in_memory(&clock)?;
//! pond.worker("reminders").handle(|_: Job<Remind>| async { Ok(()) }).start()?;
//!
//! pond.enqueue("reminders", NewJob::new(Remind { user: 7 }).delay(Duration::from_secs(3600))).await?;
//! testing::assert_enqueued::<Remind>(&pond, "reminders", |remind| remind.user == 7);
//!
//! assert_eq!(testing::drain(&pond).await.completed, 0);   // not due yet
//! clock.advance(Duration::from_secs(3600));
//! assert_eq!(testing::drain(&pond).await.completed, 1);
//! # Ok(()) }
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::builder::Builder;
use crate::error::Error;
use crate::handler::{AttemptFacts, Calling, Context, DataMap, Handler, Run, Shared, erase};
use crate::inspect::{JobFilter, JobInfo};
use crate::job::{JobId, Kind, Outcome, Payload, Priority, ReadBack, ReadyJob, Record, RunNumber, State, read_back};
use crate::millpond::Millpond;
use crate::runtime::{Engine, Steps, stop_now};
use crate::storage::redb_types::{InMemoryBackend, StorageBackend};
use crate::sync::{Mutex, MutexGuard};
use crate::time::{Clock, SystemClock, TimeReader, Timestamp};

pub use crate::transaction::Unguarded;

/// A clock that stands still until the test moves it. Clones are the same clock.
///
/// ```
/// use millpond::Clock;
/// use millpond::testing::ManualClock;
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let before = clock.wall();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.wall().since(before), Duration::from_secs(60));
/// ```
#[derive(Clone)]
pub struct ManualClock {
    inner: Arc<Mutex<Hands>>,
}

struct Hands {
    wall: Timestamp,
    monotonic: Duration,
    wakers: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl ManualClock {
    /// A clock that shows 2026-01-01 00:00 UTC.
    pub fn new() -> Self {
        let wall = Timestamp::from_millis(1_767_225_600_000);
        Self { inner: Arc::new(Mutex::new(Hands { wall, monotonic: Duration::ZERO, wakers: Vec::new() })) }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Advances both readings of the clock by `by`.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let job = NewJob::json("charge", &7).delay(Duration::from_secs(60));
    /// let id = pond.enqueue("billing", job).await?;
    ///
    /// clock.advance(Duration::from_secs(60));
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::NoHandler { .. }));
    /// # Ok(()) });
    /// ```
    pub fn advance(&self, by: Duration) {
        self.moved(|hands| {
            hands.wall = hands.wall + by;
            hands.monotonic = hands.monotonic.saturating_add(by);
        });
    }

    /// Sets the wall clock, as an operator or a time server does. The monotonic clock does not change.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let clock = ManualClock::new();
    /// clock.set_wall(Timestamp::EPOCH);
    /// assert_eq!((clock.wall(), clock.monotonic()), (Timestamp::EPOCH, Duration::ZERO));
    /// ```
    pub fn set_wall(&self, wall: Timestamp) {
        self.moved(|hands| hands.wall = wall);
    }

    fn moved(&self, change: impl FnOnce(&mut Hands)) {
        let wakers = {
            let mut hands = self.hands();
            change(&mut hands);
            hands.wakers.clone()
        };
        for wake in wakers {
            wake();
        }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualClock").field("wall", &self.wall()).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        self.hands().wall
    }

    fn monotonic(&self) -> Duration {
        self.hands().monotonic
    }

    fn on_move(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.hands().wakers.push(wake);
    }
}

/// Opens a queue in memory with this clock and a fixed seed. It reads each typed payload back and compares it
/// ([`Builder::verify_payloads`](crate::Builder::verify_payloads)).
///
/// # Errors
/// None in practice; those of [`Builder::attach`](crate::Builder::attach).
///
/// ```
/// use millpond::NewJob;
/// use millpond::testing::{self, ManualClock};
///
/// let pond = testing::in_memory(&ManualClock::new())?;
/// pond.enqueue("billing", NewJob::json("charge", &7)).wait()?;
/// # Ok::<(), millpond::Error>(())
/// ```
pub fn in_memory(clock: &ManualClock) -> Result<Millpond, Error> {
    Millpond::builder().clock(clock.clone()).seed(0).verify_payloads(true).open_backend(InMemoryBackend::new())
}

/// What has ended, as [`drain`] returns it.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.worker("billing")
///     .retry(Retry::none())
///     .handle(|job: Job<Charge>| async move { if job.order == 0 { Err("no such order".into()) } else { Ok(()) } })
///     .start()?;
/// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
///
/// let drained = testing::drain(&pond).await;
/// assert_eq!((drained.completed, drained.failed, drained.dead), (2, 1, 1));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Attempts that completed their jobs.
    pub completed: u64,
    /// Attempts that failed; their jobs are retried or are dead letters.
    pub failed: u64,
    /// Jobs that became dead letters.
    pub dead: u64,
}

/// Waits until all jobs that are due by the queue's clock have run, and all jobs that they enqueue: until no more can
/// start and none runs. A handler that waits for something outside of the queue keeps `drain` waiting. A
/// [batch](crate::Batch) does not wait for more jobs once no more can start.
///
/// It returns what has ended since the last drain, or since the queue was opened. This includes jobs that ended before
/// this call.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// pond.worker("billing")
///     .retry(Retry::fixed(Duration::from_secs(5)).jitter(0.0))
///     .handle(|job: Job<Charge>| async move { if job.attempt() == 1 { Err("busy".into()) } else { Ok(()) } })
///     .start()?;
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// assert_eq!(testing::drain(&pond).await.failed, 1);
///
/// clock.advance(Duration::from_secs(5));
/// assert_eq!(testing::drain(&pond).await.completed, 1);
/// # Ok(()) });
/// ```
pub async fn drain(pond: &Millpond) -> Drained {
    let driver = pond.testing();
    driver.idle().await;
    let metrics = pond.metrics();
    let dead: u64 = pond.queues().iter().map(|queue| queue.counts().dead_total).sum();
    let dead = dead + driver.engine.dead_of_removed_queues();
    let before = driver.engine.note_drained([metrics.completed_total, metrics.failed_total, dead]);
    Drained {
        completed: metrics.completed_total - before[0],
        failed: metrics.failed_total - before[1],
        dead: dead - before[2],
    }
}

/// All jobs of `queue` that have not ended.
///
/// # Panics
/// If the storage fails.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.enqueue("billing", NewJob::json("charge", &7)).await?;
/// pond.enqueue("billing", NewJob::json("refund", &8)).await?;
///
/// let kinds: Vec<_> = testing::all_enqueued(&pond, "billing").into_iter().map(|job| job.kind).collect();
/// assert_eq!(kinds, ["charge", "refund"]);
/// # Ok(()) });
/// ```
pub fn all_enqueued(pond: &Millpond, queue: &str) -> Vec<JobInfo> {
    let filter = JobFilter::new().queue(queue);
    let (mut jobs, mut cursor) = (Vec::new(), None);
    loop {
        let page = pond.jobs(&filter, cursor, 1_000).expect("the queue can be read");
        jobs.extend(page.jobs.into_iter().filter(|job| !job.state.is_final()));
        cursor = page.next;
        if cursor.is_none() {
            return jobs;
        }
    }
}

fn enqueued<K: Kind>(pond: &Millpond, queue: &str, matches: impl Fn(&K) -> bool) -> Option<JobInfo> {
    let typed = |job: &JobInfo| job.kind == K::KIND && job.payload.decode::<K>().is_ok_and(|payload| matches(&payload));
    all_enqueued(pond, queue).into_iter().find(typed)
}

/// Asserts that `queue` holds an unfinished job of kind `K` that matches, and returns it.
///
/// # Panics
/// If there is none; the message lists what there is.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.enqueue("billing", NewJob::new(Charge { order: 7 }).group("order-7")).await?;
///
/// let job = testing::assert_enqueued::<Charge>(&pond, "billing", |charge| charge.order == 7);
/// assert_eq!(job.group.as_deref(), Some("order-7"));
/// # Ok(()) });
/// ```
#[track_caller]
pub fn assert_enqueued<K: Kind>(pond: &Millpond, queue: &str, matches: impl Fn(&K) -> bool) -> JobInfo {
    enqueued(pond, queue, matches).unwrap_or_else(|| {
        let there: Vec<_> =
            all_enqueued(pond, queue).iter().map(|job| format!("{} {:?}", job.kind, job.payload)).collect();
        panic!("no such job of kind {:?} in queue {queue:?}, which holds {there:#?}", K::KIND)
    })
}

/// Asserts that `queue` holds no unfinished job of kind `K` that matches.
///
/// # Panics
/// If there is one.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.enqueue("billing", Charge { order: 7 }).await?;
/// testing::refute_enqueued::<Charge>(&pond, "billing", |charge| charge.order == 8);
/// # Ok(()) });
/// ```
#[track_caller]
pub fn refute_enqueued<K: Kind>(pond: &Millpond, queue: &str, matches: impl Fn(&K) -> bool) {
    if let Some(job) = enqueued(pond, queue, matches) {
        panic!("queue {queue:?} holds job {} of kind {:?}: {:?}", job.id, job.kind, job.payload);
    }
}

/// Asserts that `payload` reaches its handler unchanged: its kind's codec can write it and read it back, and the two
/// values are equal. Unlike [`Builder::verify_payloads`](crate::Builder::verify_payloads), this also finds differences
/// that are not visible in the bytes, such as a variant of an untagged enum that is read as another one.
///
/// # Panics
/// If the payload does not reach its handler unchanged; the message says why.
///
/// ```
/// # use doc_prelude::*;
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// struct Reading { sensor: u16, value: f64 }
/// # impl Kind for Reading { const KIND: &'static str = "reading"; }
///
/// testing::assert_round_trip(Reading { sensor: 7, value: 233.24645296478246 });
/// ```
#[track_caller]
pub fn assert_round_trip<K: Kind + PartialEq + std::fmt::Debug>(payload: K) {
    let kind = K::KIND;
    let written = Payload::encode(K::CODEC, &payload)
        .unwrap_or_else(|error| panic!("the payload of kind {kind:?} cannot be written: {error}: {payload:?}"));
    if let Err(error) = read_back::<K>(&written, ReadBack::Compare) {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        panic!("the payload of kind {kind:?} does not come back: {error}{source}: {payload:?}");
    }
    let read: K = written.decode().expect("it was read a line ago");
    assert_eq!(read, payload, "the payload of kind {kind:?} comes back as another value");
}

/// Runs one handler on one payload, without a queue. The payload is written and read by its codec, as in a queue. What
/// the handler registers with [`Context::on_complete`] is dropped. Its [steps](Context::step) run, and none is stored; a
/// [sleep](Context::sleep) is over at once.
///
/// ```
/// # use doc_prelude::*;
/// # #[derive(Serialize, Deserialize)] struct Remind { user: u64 }
/// # impl Kind for Remind { const KIND: &'static str = "remind"; }
/// async fn remind(job: Job<Remind>) -> Handled<Outcome> {
///     if job.user == 0 { return Ok(Outcome::cancel("nobody")); }
///     Ok(Outcome::Done(None))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let outcome = testing::perform(remind, Remind { user: 0 }, testing::Given::default()).await;
/// assert!(matches!(outcome, Outcome::Cancel(_)));
/// # }
/// ```
///
/// # Panics
/// If the codec cannot write and read the payload, or the handler takes data that was not passed.
pub async fn perform<K: Kind, Args>(handler: impl Handler<K, Args>, payload: K, given: Given) -> Outcome {
    let payload = Payload::encode(K::CODEC, &payload).expect("the payload can be encoded");
    let runnable = erase(handler);
    if let Some(data) = runnable.missing(&given.data) {
        panic!("the handler takes Data<{data}>: give it with `Given::data`");
    }
    let record = Record::new(0, Priority::default(), Timestamp::EPOCH, payload.clone());
    let facts = AttemptFacts {
        job: Arc::new(ReadyJob::new(JobId::new(1), 1, record, 0)),
        queue: "testing".into(),
        kind: K::KIND.into(),
        attempt: given.attempt,
        max_attempts: given.max_attempts,
        run: RunNumber::new(1, 1),
        timeout: None,
        shared: Shared::of_no_queue(given.data),
        time: TimeReader::new(Arc::new(SystemClock::new())),
        live: Default::default(),
        guest: Default::default(),
    };
    facts.call_begins_now();
    let context = Context::new(Arc::new(facts));
    let Run::Async(run) = &runnable.run else { unreachable!("erased as async") };
    run(&payload, &context, Calling::Now).expect("the payload can be decoded").await
}

/// What [`perform`] passes to a handler beside its payload. Default: the first attempt of 5, no data. The job's id is
/// 1, its queue is `testing`, and it has no group and no timeout.
///
/// ```
/// # use doc_prelude::*;
/// struct Bank { is_open: bool }
///
/// async fn charge(job: Job<Charge>, bank: Data<Bank>) -> Handled<Outcome> {
///     match bank.is_open {
///         true => Ok(Outcome::Done(None)),
///         false if job.attempt() == job.max_attempts() => Ok(Outcome::dead_letter("the bank is closed")),
///         false => Ok(Outcome::snooze(Duration::from_secs(60))),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let given = testing::Given::default().attempt(5, 5).data(Bank { is_open: false });
/// let outcome = testing::perform(charge, Charge { order: 7 }, given).await;
/// assert!(matches!(outcome, Outcome::DeadLetter(_)));
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Given {
    attempt: u32,
    max_attempts: u32,
    data: DataMap,
}

impl Default for Given {
    fn default() -> Self {
        Self { attempt: 1, max_attempts: 5, data: DataMap::default() }
    }
}

impl Given {
    /// Sets the number of the attempt and the highest number of attempts.
    pub fn attempt(mut self, attempt: u32, max_attempts: u32) -> Self {
        (self.attempt, self.max_attempts) = (attempt, max_attempts);
        self
    }

    /// Shared data for the handler, as from [`WorkerBuilder::data`](crate::WorkerBuilder::data).
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        self.data.insert(value);
        self
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

/// For simulations: opens the queue without threads; the [`Stepper`] drives it. If the clock, the disk, the async
/// runtime and the seed are the caller's, the same steps always do the same.
#[doc(hidden)]
pub fn open_stepped<B: StorageBackend>(
    builder: Builder,
    open: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
) -> Result<(Millpond, Stepper), Error> {
    let (pond, steps) = builder.open_steps(open)?;
    Ok((pond, Stepper { steps }))
}

/// Drives a queue without threads, one step at a time.
#[doc(hidden)]
pub struct Stepper {
    steps: Steps,
}

impl Stepper {
    /// Does what the writer's thread does between two waits: commits the calls that have gathered, and answers them.
    /// Returns false if there was nothing to do.
    pub fn write(&mut self) -> bool {
        self.steps.write()
    }

    /// Whether the dispatcher's thread would run now rather than sleep.
    pub fn is_woken(&self) -> bool {
        self.steps.is_woken()
    }

    /// Does what the dispatcher's thread does between two sleeps. Returns how long it would then sleep.
    pub fn dispatch(&mut self) -> Option<Duration> {
        self.steps.dispatch()
    }

    /// Does what a thread of the pool for blocking handlers does: runs one of them. Returns false if none waits.
    pub fn run_thread(&mut self) -> bool {
        self.steps.run_thread()
    }

    /// How many blocking attempts were handed out and wait for [`run_thread`](Self::run_thread).
    pub fn waiting_for_threads(&self) -> usize {
        self.steps.waiting_for_threads()
    }

    /// How many messages wait for the writer.
    pub fn inbox(&self) -> usize {
        self.steps.inbox()
    }

    /// The first part of a shutdown: no more jobs start.
    pub fn begin_stop(&mut self) {
        self.steps.begin_stop();
    }

    /// The second part of a shutdown, at the deadline: handlers are told to stop.
    pub fn cancel_running(&mut self) {
        self.steps.cancel_running();
    }

    /// The last part of a shutdown: jobs that still run return to their queues. The calls of [`write`](Self::write)
    /// that follow close the file.
    pub fn take_back(&mut self) {
        self.steps.take_back();
    }

    /// Whether the file is closed.
    pub fn is_closed(&self) -> bool {
        self.steps.is_closed()
    }
}

/// Waits until the engine has reached a state: for this crate's own tests.
#[doc(hidden)]
pub struct Driver {
    engine: Arc<Engine>,
}

impl Millpond {
    #[doc(hidden)]
    pub fn testing(&self) -> Driver {
        Driver { engine: self.engine().clone() }
    }
}

/// Stops the queue when it is dropped, as the last handle does.
#[doc(hidden)]
pub struct LastHandle {
    engine: Arc<Engine>,
}

impl Drop for LastHandle {
    fn drop(&mut self) {
        stop_now(&self.engine);
    }
}

impl Driver {
    /// How many numbers of queues and of kinds are assigned to names.
    pub fn names_in_use(&self) -> (usize, usize) {
        self.engine.names_in_use()
    }

    /// Runs `while_held` while this thread holds the locks of the queue, so that a test can fork at that moment.
    pub fn with_locks_held(&self, while_held: impl FnOnce()) {
        self.engine.with_locks_held(while_held);
    }

    pub fn is_stopping(&self) -> bool {
        self.engine.is_stopping()
    }

    pub fn last_handle(&self) -> LastHandle {
        LastHandle { engine: self.engine.clone() }
    }

    /// Waits until no job runs and none can start before the clock moves.
    pub async fn idle(&self) {
        let engine = &self.engine;
        let is_idle = |_: &Engine| {
            engine.close_batches_if_quiet();
            engine.is_idle()
        };
        self.until(is_idle).await;
    }

    /// Waits until no job can start before the clock moves or a running handler returns, and each job that was handed out has
    /// begun and has joined its batch, if it has one.
    pub async fn settled(&self) {
        self.until(|engine| engine.is_settled()).await;
    }

    async fn until(&self, done: impl Fn(&Engine) -> bool) {
        // Nothing runs in a forked process.
        while !self.engine.is_forked() {
            let moved = self.engine.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            self.flush().await;
            if done(&self.engine) || self.engine.is_closed() || self.engine.has_given_up() {
                return;
            }
            moved.await;
        }
    }

    /// How many handlers of this queue were called and have not returned. An attempt's time begins with the call, which
    /// follows some time after the job is handed out.
    pub fn called(&self, queue: &str) -> u64 {
        self.engine.called_handlers(queue) as u64
    }

    /// How many messages wait for the writer.
    pub fn inbox(&self) -> usize {
        self.engine.waiting_commands()
    }

    /// Waits until the writer has done everything that was submitted so far, and the dispatcher has processed it.
    async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        let reply = move || {
            let _ = reply.send(());
        };
        if self.engine.between_commits(reply) {
            let _ = done.await;
        }
        self.engine.dispatch_now();
    }

    /// The state of every job, for comparison with a model.
    pub fn states(&self, pond: &Millpond) -> Vec<(JobId, State)> {
        let (mut states, mut cursor) = (Vec::new(), None);
        loop {
            let page = pond.jobs(&JobFilter::new(), cursor, 1_000).expect("the queue can be read");
            states.extend(page.jobs.into_iter().map(|job| (job.id, job.state)));
            cursor = page.next;
            if cursor.is_none() {
                states.sort_unstable_by_key(|(id, _)| *id);
                return states;
            }
        }
    }
}
