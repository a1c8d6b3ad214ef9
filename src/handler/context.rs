use std::collections::VecDeque;
#[cfg(feature = "wasm")]
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::extract::DataMap;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{JobId, PluginHash, Priority, RunNumber};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::text::cut;
use crate::time::{Clock, Timestamp};
use crate::transaction::Transaction;

/// Log lines kept per running attempt: the latest ones.
pub(crate) const LOG_LINES_MAX: usize = 100;

/// Longest log line or progress message kept, in bytes.
const LINE_BYTES_MAX: usize = 1_024;

/// What is known about a job when its handler is called.
#[derive(Debug)]
pub(crate) struct Facts {
    pub id: JobId,
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub group: Option<Arc<str>>,
    pub priority: Priority,
    pub attempt: u32,
    pub max_attempts: u32,
    pub run: RunNumber,
    pub enqueued_at: Timestamp,
    /// How many plugins' follow-up jobs it descends from.
    #[cfg(feature = "wasm")]
    pub generation: u32,
}

/// Writes with the acknowledgement.
pub(crate) type CompleteHook = Quiet<Box<dyn Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync>>;

/// How far a handler says it is.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
/// # let (go, gone) = tokio::sync::watch::channel(());
/// # pond.worker("billing").handle(move |_: Job<Charge>, ctx: Context| { let (started, mut gone) = (started.clone(), gone.clone()); async move {
/// #     ctx.progress(3, Some(10), "line items");
/// #     let _ = started.send(());
/// #     gone.changed().await?;
/// #     Ok(())
/// # } }).start()?;
/// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # starts.recv().await;
/// let Progress { done, total, message, .. } = pond.job(id)?.progress.unwrap_or_default();
/// assert_eq!((done, total, message.as_str()), (3, Some(10), "line items"));
/// # go.send(())?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all, if known.
    pub total: Option<u64>,
    /// What it is doing; at most 1 KiB.
    pub message: String,
}

/// One attempt as its handler sees it, and what it leaves behind beside its outcome.
pub(crate) struct Attempted {
    facts: Facts,
    clock: Arc<dyn Clock>,
    started: StartedCell,
    timeout: Option<Duration>,
    data: Arc<DataMap>,
    cancelled: AtomicBool,
    /// Made when a handler first asks for it: most never do.
    token: OnceLock<CancellationToken>,
    /// The version of the plugin that makes this attempt.
    #[cfg(feature = "wasm")]
    pub plugin: OnceLock<PluginHash>,
    #[cfg(feature = "wasm")]
    waited: Mutex<Waited>,
    /// Ready once nothing of the attempt runs any more, if it was ended while it ran on a thread for guests.
    #[cfg(feature = "wasm")]
    left_behind: Mutex<Option<Gone>>,
    notes: Mutex<Notes>,
}

/// When a handler was called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub mono: Duration,
    pub wall: Timestamp,
}

/// Empty until the handler is about to be called: the attempt's time runs from then on.
struct StartedCell {
    /// On the monotonic clock in nanoseconds, or [`NOT_YET`].
    mono: AtomicU64,
    /// On the wall clock in milliseconds. Set before `mono` is.
    wall: AtomicU64,
}

const NOT_YET: u64 = u64::MAX;

impl Default for StartedCell {
    fn default() -> Self {
        Self { mono: AtomicU64::new(NOT_YET), wall: AtomicU64::new(0) }
    }
}

impl StartedCell {
    fn set(&self, Started { mono, wall }: Started) {
        self.wall.store(wall.as_millis(), Ordering::Relaxed);
        // 584 years fit in.
        self.mono.store(mono.as_nanos().min(u128::from(NOT_YET - 1)) as u64, Ordering::Release);
    }

    fn get(&self) -> Option<Started> {
        let mono = self.mono.load(Ordering::Acquire);
        let started = || Started {
            mono: Duration::from_nanos(mono),
            wall: Timestamp::from_millis(self.wall.load(Ordering::Relaxed)),
        };
        (mono != NOT_YET).then(started)
    }
}

/// Time that an attempt has spent in line for a place to run: it is not counted as its own.
#[cfg(feature = "wasm")]
#[derive(Default)]
struct Waited {
    before: Duration,
    since: Option<Duration>,
    /// It has no place yet: its guest was not called.
    in_line: bool,
}

/// Ready when something is gone.
#[cfg(feature = "wasm")]
type Gone = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The attempt stands in line while this lives.
#[cfg(feature = "wasm")]
pub(crate) struct InLine<'a>(&'a Attempted);

#[cfg(feature = "wasm")]
impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let now = self.0.clock.monotonic();
        let mut waited = self.0.waited();
        if let Some(since) = waited.since.take() {
            waited.before += now.saturating_sub(since);
        }
    }
}

#[derive(Default)]
struct Notes {
    progress: Option<Progress>,
    log: VecDeque<String>,
    hooks: Vec<CompleteHook>,
}

impl Attempted {
    pub fn new(facts: Facts, clock: Arc<dyn Clock>, timeout: Option<Duration>, data: Arc<DataMap>) -> Self {
        let (cancelled, token, notes) = Default::default();
        Self {
            facts,
            clock,
            started: StartedCell::default(),
            timeout,
            data,
            cancelled,
            token,
            #[cfg(feature = "wasm")]
            plugin: OnceLock::new(),
            #[cfg(feature = "wasm")]
            waited: Default::default(),
            #[cfg(feature = "wasm")]
            left_behind: Default::default(),
            notes,
        }
    }

    /// The handler is about to be called.
    pub fn start(&self, at: Started) {
        self.started.set(at);
    }

    /// The handler is about to be called, and nobody has read the clock just now.
    pub fn start_now(&self) {
        self.start(Started { mono: self.clock.monotonic(), wall: self.clock.wall() });
    }

    /// When the handler was called, if it was.
    pub fn started(&self) -> Option<Started> {
        self.started.get()
    }

    /// Whether its time is over.
    pub fn is_overdue(&self, now: Duration) -> bool {
        let (Some(Started { mono, .. }), Some(timeout)) = (self.started(), self.timeout) else { return false };
        // Time in line only adds to it: mostly there is no need to look at that.
        now >= mono.saturating_add(timeout) && self.deadline(now).is_some_and(|deadline| deadline <= now)
    }

    /// When its time is over, if nothing holds it up from `now` on. Until its handler is called, its time does
    /// not run.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let started = self.started().map_or(now, |started| started.mono);
        let deadline = started.saturating_add(self.timeout?);
        #[cfg(feature = "wasm")]
        let deadline = {
            let Waited { before, since, .. } = *self.waited();
            let in_line = since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
            deadline.saturating_add(before).saturating_add(in_line)
        };
        #[cfg(not(feature = "wasm"))]
        let _ = now;
        Some(deadline)
    }

    #[cfg(feature = "wasm")]
    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.waited.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// It stands in line for a place to run from now on: its clock stands still.
    #[cfg(feature = "wasm")]
    pub fn in_line(&self) -> InLine<'_> {
        let mut waited = self.waited();
        (waited.since, waited.in_line) = (Some(self.clock.monotonic()), true);
        drop(waited);
        InLine(self)
    }

    /// It has a place, and its guest is to be called. False if it was told to stop while it stood in line: then its
    /// job may be given back as one that was not called, so the guest must not be.
    #[cfg(feature = "wasm")]
    pub fn leaves_the_line(&self) -> bool {
        self.waited().in_line = false;
        !self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether its guest was not called because it stands in line for a place, or was ended there.
    pub fn is_in_line(&self) -> bool {
        #[cfg(feature = "wasm")]
        return self.waited().in_line;
        #[cfg(not(feature = "wasm"))]
        false
    }

    /// The attempt has been dropped, and what ran of it elsewhere is gone once `gone` is ready.
    #[cfg(feature = "wasm")]
    pub fn left_behind(&self, gone: impl Future<Output = ()> + Send + 'static) {
        *self.left_behind.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::pin(gone));
    }

    /// Waits until nothing of the attempt runs any more. For whoever has ended and dropped it.
    #[cfg(feature = "wasm")]
    pub async fn gone(&self) {
        let left_behind = self.left_behind.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(gone) = left_behind {
            gone.await;
        }
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The version of the plugin that makes this attempt, if one does.
    pub fn plugin(&self) -> Option<PluginHash> {
        #[cfg(feature = "wasm")]
        return self.plugin.get().copied();
        #[cfg(not(feature = "wasm"))]
        None
    }

    /// What the monotonic clock says now.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// What the wall clock says now.
    #[cfg(feature = "wasm")]
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    pub fn take_hooks(&self) -> Vec<CompleteHook> {
        std::mem::take(&mut self.notes().hooks)
    }

    pub fn progress(&self) -> Option<Progress> {
        self.notes().progress.clone()
    }

    pub fn log(&self) -> Vec<String> {
        self.notes().log.iter().cloned().collect()
    }

    /// Tells the handler that it should stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        // Whoever cancels either finds the token or has set the flag before this look at it.
        if self.cancelled.load(Ordering::SeqCst) {
            token.cancel();
        }
        token
    }
}

/// What a handler may ask and say while it runs. Cheap to clone.
///
/// ```
/// use millpond::{Context, Handled, Job};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Import { files:Vec<String> }
/// # impl millpond::Kind for Import { const KIND: &'static str = "import"; }
///
/// async fn import(job: Job<Import>, ctx: Context) -> Handled {
///     let total = job.files.len() as u64;
///     for (done, file) in (0..).zip(&job.files) {
///         ctx.progress(done, Some(total), file.as_str());
///         ctx.log(format!("read {file}"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context {
    attempted: Arc<Attempted>,
}

impl Context {
    pub(crate) fn new(attempted: Arc<Attempted>) -> Self {
        Self { attempted }
    }

    pub(crate) fn attempted(&self) -> &Arc<Attempted> {
        &self.attempted
    }

    /// Resolves when the handler should stop: the queue is shutting down and its deadline has passed,
    /// which leaves half a second, or the attempt's timeout has passed. An async handler itself is
    /// dropped at its timeout: that it has passed, only what it has spawned gets to hear.
    ///
    /// ```
    /// # use millpond::{*, testing::{in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// # let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    /// # let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    /// pond.worker("billing")
    ///     .handle(move |_: Job<Charge>, ctx: Context| {
    /// #         let (started, told) = (started.clone(), told.clone());
    ///         async move {
    /// #             let _ = started.send(());
    ///             ctx.cancelled().await;
    /// #             let _ = told.send(());
    ///             Ok(Outcome::snooze(Duration::from_secs(60))) // goes on after the restart
    ///         }
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # starts.recv().await;
    /// pond.shutdown(Duration::ZERO).await?;
    /// # assert!(tells.recv().await.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn cancelled(&self) {
        self.attempted.token().cancelled().await;
    }

    /// Whether the handler should stop. For blocking handlers, which cannot be stopped from
    /// outside: look at it now and then.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Import { files:Vec<String> }
    /// # impl millpond::Kind for Import { const KIND: &'static str = "import"; }
    ///
    /// fn import(job: Job<Import>, ctx: Context) -> Handled {
    ///     for file in &job.files {
    ///         if ctx.is_cancelled() {
    ///             return Err("stopped half-way".into());
    ///         }
    ///         println!("read {file}");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.attempted.cancelled.load(Ordering::SeqCst)
    }

    /// The token behind [`cancelled`](Self::cancelled), to be handed on.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Import { files:Vec<String> }
    /// # impl millpond::Kind for Import { const KIND: &'static str = "import"; }
    ///
    /// async fn import(job: Job<Import>, ctx: Context) -> Handled {
    ///     let stop = ctx.cancellation();
    ///     let upload = tokio::spawn(async move {
    ///         stop.run_until_cancelled(async { println!("upload {:?}", job.files) }).await;
    ///     });
    ///     upload.await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn cancellation(&self) -> CancellationToken {
        self.attempted.token().clone()
    }

    /// Time left until this attempt's deadline; `None` if it has none.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .timeout(Duration::from_secs(30))
    ///     .handle(|_: Job<Charge>, ctx: Context| async move {
    ///         assert_eq!(ctx.time_left(), Some(Duration::from_secs(30)));
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.queue("billing")?.counts().completed_total, 1);
    /// # Ok(()) }
    /// ```
    pub fn time_left(&self) -> Option<Duration> {
        let now = self.attempted.clock.monotonic();
        self.attempted.deadline(now).map(|deadline| deadline.saturating_sub(now))
    }

    /// Says how far the handler is. Kept in memory while it runs, the latest only. A message of more than 1 KiB is cut and ends
    /// in an ellipsis.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.progress(1, Some(2), "asking the bank");
    ///     println!("charge order {}", job.order);
    ///     ctx.progress(2, Some(2), "charged");
    ///     Ok(())
    /// }
    /// ```
    pub fn progress(&self, done: u64, total: Option<u64>, message: impl Into<String>) {
        let message = cut(message.into(), LINE_BYTES_MAX);
        self.attempted.notes().progress = Some(Progress { done, total, message });
    }

    /// Keeps a line while the handler runs: the latest 100, at most 1 KiB each. A longer one is cut and ends in an ellipsis.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     ctx.log(format!("charge order {}", job.order));
    ///     Ok(())
    /// }
    /// ```
    pub fn log(&self, line: impl Into<String>) {
        let line = cut(line.into(), LINE_BYTES_MAX);
        let mut notes = self.attempted.notes();
        if notes.log.len() == LOG_LINES_MAX {
            notes.log.pop_front();
        }
        notes.log.push_back(line);
    }

    /// Runs `write` in the transaction that acknowledges the job: app rows and follow-up jobs are
    /// committed with the acknowledgement, exactly once, or not at all if this attempt does not
    /// complete. May be called more than once; the closures run in that order. Each may run more
    /// than once, and must have no effect outside its transaction.
    ///
    /// If it returns an error or panics, nothing of it is stored and the attempt has failed. All that an attempt gives to
    /// `on_complete` shares the limits of one transaction: 10,000 jobs and 32 MiB.
    ///
    /// ```
    /// use millpond::{Context, Handled, Job, Kind};
    /// # use redb::TableDefinition;
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Welcome { email: String }
    /// # impl Kind for Welcome { const KIND: &'static str = "welcome"; }
    /// const WELCOMED: TableDefinition<&str, u64> = TableDefinition::new("welcomed");
    ///
    /// async fn welcome(job: Job<Welcome>, ctx: Context) -> Handled {
    ///     let (email, id) = (job.email.clone(), job.id().get());
    ///     ctx.on_complete(move |tx| {
    ///         tx.open_table(WELCOMED)?.insert(email.as_str(), id)?;
    ///         Ok(())
    ///     });
    ///     Ok(())
    /// }
    /// ```
    pub fn on_complete(&self, write: impl Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync + 'static) {
        self.attempted.notes().hooks.push(Quiet::new(Box::new(write)));
    }

    /// What the worker was given with `.data(...)`, if it was given such a thing.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// struct Bank { name: &'static str }
    ///
    /// async fn charge(job: Job<Charge>, ctx: Context) -> Handled {
    ///     let name = ctx.data::<Bank>().map_or("any bank", |bank| bank.name);
    ///     println!("{name} charges order {}", job.order);
    ///     Ok(())
    /// }
    /// ```
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.attempted.data.find()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SystemClock;

    #[test]
    fn long_lines_and_messages_hold_no_more_memory_than_their_limit() {
        let facts = Facts {
            id: JobId::new(1),
            queue: "q".into(),
            kind: "k".into(),
            group: None,
            priority: Priority::default(),
            attempt: 1,
            max_attempts: 1,
            run: RunNumber::new(1, 1),
            enqueued_at: Timestamp::EPOCH,
            #[cfg(feature = "wasm")]
            generation: 0,
        };
        let attempted = Attempted::new(facts, Arc::new(SystemClock::new()), None, Arc::default());
        let context = Context::new(Arc::new(attempted));
        for _ in 0..2 * LOG_LINES_MAX {
            context.log("é".repeat(LINE_BYTES_MAX));
            context.progress(1, None, "é".repeat(LINE_BYTES_MAX));
        }
        let notes = context.attempted.notes();
        let held: usize = notes.log.iter().map(String::capacity).sum();
        assert!(held <= LOG_LINES_MAX * LINE_BYTES_MAX, "{held} bytes are held");
        assert_eq!(notes.log.len(), LOG_LINES_MAX);
        let message = notes.progress.as_ref().unwrap().message.capacity();
        assert!(message <= LINE_BYTES_MAX, "{message} bytes are held");
    }
}
