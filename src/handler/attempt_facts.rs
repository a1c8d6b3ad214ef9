//! What a handler can see of its attempt, and what it reports: shared by the handler's [`Context`](super::Context)
//! and [`Job`](super::Job) with the executor that runs the attempt.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::data_map::DataMap;
use super::guest_facts::GuestFacts;
use super::progress::Progress;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::job::{JobId, Labels, Priority, RunNumber, ScheduledFor};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::{TimeReader, Timestamp};
use crate::transaction::Transaction;

/// How many log lines are kept of a running attempt: the latest ones.
pub(crate) const LOG_LINES_MAX: usize = 100;

/// Longest log line or progress message that is kept, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1_024;

/// Writes in the transaction that acknowledges the job.
pub(crate) type CompleteHook = Quiet<Box<dyn Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync>>;

/// What a handler can see of its attempt, and what it reports besides its outcome.
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
    /// If a schedule has enqueued the job.
    pub scheduled_for: Option<ScheduledFor>,
    /// The job's tags and headers, if it has any.
    pub labels: Option<Arc<Labels>>,
    /// How long the attempt may run, counted from its handler's call.
    pub timeout: Option<Duration>,
    /// What the worker was given with `.data(...)`.
    pub data: Arc<DataMap>,
    pub time: TimeReader,
    /// The part that changes while the attempt runs.
    pub live: Live,
    /// What is known of the attempt if a plugin makes it.
    pub guest: GuestFacts,
}

/// The part of [`AttemptFacts`] that changes while an attempt runs.
#[derive(Default)]
pub(crate) struct Live {
    called: CallTime,
    cancelled: AtomicBool,
    /// Made when the handler first asks for it, because most handlers never do.
    token: OnceLock<CancellationToken>,
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
        // A `u64` of nanoseconds holds 584 years.
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
        // A wait for a place only moves the deadline, so it is read only when the deadline without it has passed.
        now >= mono.saturating_add(timeout) && self.deadline(now).is_some_and(|deadline| deadline <= now)
    }

    /// When the attempt's time is over, if it does not wait for a place after `now`. Until its handler is called, its time
    /// does not run.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let called = self.called_at().map_or(now, |called| called.mono);
        let deadline = called.saturating_add(self.timeout?);
        Some(deadline.saturating_add(self.guest.waited(now)))
    }

    // --- what the handler reports -----------------------------------------------------------------

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

    /// Tells the handler to stop.
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
        // A thread that cancels either finds this token, or has set the flag before it is read here.
        if self.is_cancelled() {
            token.cancel();
        }
        token
    }
}
