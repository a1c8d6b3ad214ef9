//! What a handler may see of its attempt, and what it leaves behind: shared by the handler's [`Context`](super::Context)
//! and [`Job`](super::Job) with the executor that runs the attempt.

use std::collections::VecDeque;
#[cfg(feature = "wasm")]
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Progress;
use super::extract::DataMap;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{JobId, PluginHash, Priority, RunNumber};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::{TimeReader, Timestamp};
use crate::transaction::Transaction;

/// Log lines kept per running attempt: the latest ones.
pub(crate) const LOG_LINES_MAX: usize = 100;

/// Longest log line or progress message kept, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1_024;

/// Writes in the transaction that acknowledges the job.
pub(crate) type CompleteHook = Quiet<Box<dyn Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync>>;

/// What a handler may see of its attempt, and what it leaves behind beside its outcome.
pub(crate) struct AttemptFacts {
    pub id: JobId,
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub group: Option<Arc<str>>,
    pub priority: Priority,
    /// The attempt's number, counted from 1.
    pub attempt: u32,
    pub max_attempts: u32,
    pub run: RunNumber,
    pub enqueued_at: Timestamp,
    /// How many plugins' follow-up jobs this job descends from.
    #[cfg(feature = "wasm")]
    pub generation: u32,
    /// How long the attempt may run, counted from its handler's call.
    pub timeout: Option<Duration>,
    /// What the worker was given with `.data(...)`.
    pub data: Arc<DataMap>,
    pub time: TimeReader,
    /// What changes while the attempt runs.
    pub live: Live,
}

/// What changes while an attempt runs.
#[derive(Default)]
pub(crate) struct Live {
    called: CallTime,
    cancelled: AtomicBool,
    /// Made when a handler first asks for it: most never do.
    token: OnceLock<CancellationToken>,
    /// The version of the plugin that makes this attempt.
    #[cfg(feature = "wasm")]
    plugin: OnceLock<PluginHash>,
    #[cfg(feature = "wasm")]
    waited: Mutex<Waited>,
    /// Ready once nothing of the attempt runs any more, if it was ended while it ran on a thread for guests.
    #[cfg(feature = "wasm")]
    left_behind: Mutex<Option<Gone>>,
    notes: Mutex<Notes>,
}

/// When a handler was called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CalledAt {
    pub mono: Duration,
    pub wall: Timestamp,
}

/// Empty until the handler is about to be called: the attempt's time runs from then on.
struct CallTime {
    /// On the monotonic clock in nanoseconds, or [`NOT_YET`].
    mono: AtomicU64,
    /// On the wall clock in milliseconds. Set before `mono` is.
    wall: AtomicU64,
}

const NOT_YET: u64 = u64::MAX;

impl Default for CallTime {
    fn default() -> Self {
        Self { mono: AtomicU64::new(NOT_YET), wall: AtomicU64::new(0) }
    }
}

impl CallTime {
    fn set(&self, CalledAt { mono, wall }: CalledAt) {
        self.wall.store(wall.as_millis(), Ordering::Relaxed);
        // 584 years fit in.
        self.mono.store(mono.as_nanos().min(u128::from(NOT_YET - 1)) as u64, Ordering::Release);
    }

    fn get(&self) -> Option<CalledAt> {
        let mono = self.mono.load(Ordering::Acquire);
        let called = || CalledAt {
            mono: Duration::from_nanos(mono),
            wall: Timestamp::from_millis(self.wall.load(Ordering::Relaxed)),
        };
        (mono != NOT_YET).then(called)
    }
}

/// The time that an attempt has waited for a place to run. It does not count as the attempt's own.
#[cfg(feature = "wasm")]
#[derive(Default)]
struct Waited {
    before: Duration,
    since: Option<Duration>,
    /// The attempt has no place yet: its guest was not called.
    in_line: bool,
}

/// Ready when what ran elsewhere has ended.
#[cfg(feature = "wasm")]
type Gone = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The attempt waits for a place while this lives.
#[cfg(feature = "wasm")]
pub(crate) struct InLine<'a>(&'a AttemptFacts);

#[cfg(feature = "wasm")]
impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let now = self.0.time.mono();
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

impl AttemptFacts {
    // --- the attempt's time ---------------------------------------------------------------------

    /// Notes that the handler is about to be called.
    pub fn call_begins(&self, at: CalledAt) {
        self.live.called.set(at);
    }

    /// Notes that the handler is about to be called, now.
    pub fn call_begins_now(&self) {
        self.call_begins(CalledAt { mono: self.time.mono(), wall: self.time.wall() });
    }

    /// When the handler was called, if it was.
    pub fn called_at(&self) -> Option<CalledAt> {
        self.live.called.get()
    }

    /// What the monotonic clock says now.
    pub fn monotonic(&self) -> Duration {
        self.time.mono()
    }

    /// Whether the attempt's time is over.
    pub fn is_overdue(&self, now: Duration) -> bool {
        let (Some(CalledAt { mono, .. }), Some(timeout)) = (self.called_at(), self.timeout) else { return false };
        // A wait for a place only adds to the deadline, so mostly it need not be read.
        now >= mono.saturating_add(timeout) && self.deadline(now).is_some_and(|deadline| deadline <= now)
    }

    /// When the attempt's time is over, if it does not wait for a place after `now`. Until its handler is called, its time
    /// does not run.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let called = self.called_at().map_or(now, |called| called.mono);
        let deadline = called.saturating_add(self.timeout?);
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

    // --- plugins --------------------------------------------------------------------------------

    #[cfg(feature = "wasm")]
    fn waited(&self) -> MutexGuard<'_, Waited> {
        self.live.waited.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Notes that the attempt waits for a place to run: its time stands still until the returned value is dropped.
    #[cfg(feature = "wasm")]
    pub fn in_line(&self) -> InLine<'_> {
        let mut waited = self.waited();
        (waited.since, waited.in_line) = (Some(self.time.mono()), true);
        drop(waited);
        InLine(self)
    }

    /// Notes that the attempt has a place and its guest is to be called. Returns false if it was told to stop while it
    /// waited: then its job may be given back as one that was not called, so the guest must not be called.
    #[cfg(feature = "wasm")]
    pub fn leaves_the_line(&self) -> bool {
        self.waited().in_line = false;
        !self.is_cancelled()
    }

    /// Whether the attempt's guest was not called because the attempt waits for a place, or was ended while it did.
    pub fn is_in_line(&self) -> bool {
        #[cfg(feature = "wasm")]
        return self.waited().in_line;
        #[cfg(not(feature = "wasm"))]
        false
    }

    /// Notes that the attempt was dropped, and that nothing of it runs elsewhere once `gone` is ready.
    #[cfg(feature = "wasm")]
    pub fn left_behind(&self, gone: impl Future<Output = ()> + Send + 'static) {
        *self.live.left_behind.lock().unwrap_or_else(|e| e.into_inner()) = Some(Box::pin(gone));
    }

    /// Waits until nothing of the attempt runs any more. To be called after the attempt was ended and dropped.
    #[cfg(feature = "wasm")]
    pub async fn gone(&self) {
        let left_behind = self.live.left_behind.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(gone) = left_behind {
            gone.await;
        }
    }

    /// Notes which version of a plugin makes this attempt. Each attempt is made by one.
    #[cfg(feature = "wasm")]
    pub fn set_plugin(&self, hash: PluginHash) {
        let _ = self.live.plugin.set(hash);
    }

    /// The version of the plugin that makes this attempt, if one does.
    pub fn plugin(&self) -> Option<PluginHash> {
        #[cfg(feature = "wasm")]
        return self.live.plugin.get().copied();
        #[cfg(not(feature = "wasm"))]
        None
    }

    // --- what the handler leaves behind -----------------------------------------------------------

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.live.notes.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn add_hook(&self, hook: CompleteHook) {
        self.notes().hooks.push(hook);
    }

    pub fn take_hooks(&self) -> Vec<CompleteHook> {
        std::mem::take(&mut self.notes().hooks)
    }

    pub(super) fn set_progress(&self, progress: Progress) {
        self.notes().progress = Some(progress);
    }

    pub fn progress(&self) -> Option<Progress> {
        self.notes().progress.clone()
    }

    pub(super) fn add_line(&self, line: String) {
        let mut notes = self.notes();
        if notes.log.len() == LOG_LINES_MAX {
            notes.log.pop_front();
        }
        notes.log.push_back(line);
    }

    pub fn log(&self) -> Vec<String> {
        self.notes().log.iter().cloned().collect()
    }

    /// How many bytes the kept lines take in memory.
    #[cfg(test)]
    pub fn log_capacity(&self) -> usize {
        self.notes().log.iter().map(String::capacity).sum()
    }

    #[cfg(test)]
    pub fn progress_capacity(&self) -> usize {
        self.notes().progress.as_ref().map_or(0, |progress| progress.message.capacity())
    }

    // --- the stop -------------------------------------------------------------------------------

    /// Tells the handler that it should stop.
    pub fn cancel(&self) {
        self.live.cancelled.store(true, Ordering::SeqCst);
        if let Some(token) = self.live.token.get() {
            token.cancel();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.live.cancelled.load(Ordering::SeqCst)
    }

    pub(super) fn token(&self) -> &CancellationToken {
        let token = self.live.token.get_or_init(CancellationToken::new);
        // A thread that cancels either finds the token, or has set the flag before it is read here.
        if self.is_cancelled() {
            token.cancel();
        }
        token
    }
}
