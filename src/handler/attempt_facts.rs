//! What a handler can see of its attempt, and what it reports: shared by the handler's [`Context`](super::Context)
//! and [`Job`](super::Job) with the executor that runs the attempt.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt_steps::StepsOfAttempt;
use super::guest_facts::GuestFacts;
use super::shared::Shared;
use crate::error::BoxError;
use crate::error::panics::Quiet;
use crate::events::Event;
use crate::job::{EntryOf, JobId, Labels, Priority, Progress, ReadyJob, Reported, Reports, RunNumber, ScheduledFor};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::time::{TimeReader, Timestamp};
use crate::transaction::Transaction;

/// The least time between two events about the progress of one attempt. The last report is published with the end of the attempt
/// if it was not published before.
const PROGRESS_EVENT_GAP: Duration = Duration::from_millis(100);

/// Writes in the transaction that acknowledges the job.
pub(crate) type CompleteHook = Quiet<Box<dyn Fn(&Transaction<'_>) -> Result<(), BoxError> + Send + Sync>>;

/// What a handler can see of its attempt, and what it reports besides its outcome.
pub(crate) struct AttemptFacts {
    /// The job as it was handed out.
    pub job: Arc<ReadyJob>,
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    /// The attempt's number, counted from 1.
    pub attempt: u32,
    pub max_attempts: u32,
    pub run: RunNumber,
    /// How long the attempt may run, counted from its handler's call.
    pub timeout: Option<Duration>,
    /// What it shares with the worker's other attempts.
    pub shared: Arc<Shared>,
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
    /// `None` until the handler first asks for a step.
    steps: Mutex<Option<Box<StepsOfAttempt>>>,
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
    /// `None` until the handler reports something.
    reports: Option<Box<Reports>>,
    /// When its progress was last published, on the monotonic clock.
    published_at: Option<Duration>,
    /// Whether its latest progress is to be published.
    is_unpublished: bool,
    /// The attempt has ended: what is reported now is ignored.
    is_closed: bool,
    hooks: Vec<CompleteHook>,
}

impl AttemptFacts {
    // --- the job --------------------------------------------------------------------------------

    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// The number of its flow, if it belongs to one.
    pub fn flow(&self) -> Option<u64> {
        self.job.record.extra.as_ref()?.flow
    }

    pub fn group(&self) -> Option<&str> {
        self.job.record.group().map(|group| &**group)
    }

    pub fn priority(&self) -> Priority {
        self.job.record.priority
    }

    pub fn enqueued_at(&self) -> Timestamp {
        self.job.record.enqueued_at
    }

    /// Which entry of a stream the job is, if it is one.
    pub fn entry(&self) -> Option<&EntryOf> {
        self.job.record.entry()
    }

    /// For which time a schedule has enqueued the job, if one has.
    pub fn scheduled_for(&self) -> Option<&ScheduledFor> {
        self.job.record.extra.as_deref()?.scheduled_for.as_deref()
    }

    /// The job's tags and headers, if it has any.
    pub fn labels(&self) -> Option<&Labels> {
        self.job.record.labels().map(|labels| &**labels)
    }

    pub fn tags(&self) -> &[String] {
        self.labels().map_or(&[], |labels| &labels.tags)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).map(String::as_str)
    }

    pub fn headers(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.labels().map_or(&NONE, |labels| &labels.headers)
    }

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

    /// What the attempt knows of the steps of its job.
    pub(super) fn steps(&self) -> MutexGuard<'_, Option<Box<StepsOfAttempt>>> {
        self.live.steps.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn add_hook(&self, hook: CompleteHook) {
        self.notes().hooks.push(hook);
    }

    /// Notes the progress, and publishes it if somebody listens and the last event about it is old enough.
    pub(super) fn set_progress(&self, progress: Progress) {
        let is_heard = self.shared.bus.hears_attempts();
        let now = if is_heard { self.time.mono() } else { Duration::ZERO };
        let to_publish = {
            let mut notes = self.notes();
            if notes.is_closed {
                return;
            }
            let is_due = notes.published_at.is_none_or(|last| now.saturating_sub(last) >= PROGRESS_EVENT_GAP);
            let reports = notes.reports.get_or_insert_default();
            reports.set_progress(progress);
            let to_publish = (is_heard && is_due).then(|| reports.so_far().progress.clone()).flatten();
            if to_publish.is_some() {
                notes.published_at = Some(now);
            }
            notes.is_unpublished = to_publish.is_none();
            to_publish
        };
        // Outside of the lock: a filter may ask for this job.
        self.publish(to_publish);
    }

    fn publish(&self, progress: Option<Progress>) {
        if let Some(progress) = progress {
            let (id, queue, kind, attempt) = (self.id(), self.queue.clone(), self.kind.clone(), self.attempt);
            self.shared.bus.publish_of_attempt(Event::Progress { id, queue, kind, attempt, progress });
        }
    }

    pub(super) fn add_line(&self, line: String) {
        let at = self.time.wall();
        let mut notes = self.notes();
        if !notes.is_closed {
            notes.reports.get_or_insert_default().add_line(at, line);
        }
    }

    /// What the handler has reported so far, if anything.
    pub fn reported(&self) -> Option<Reported> {
        self.notes().reports.as_ref().map(|reports| reports.so_far().clone())
    }

    /// Whether the handler writes something with its completion.
    pub fn has_writes(&self) -> bool {
        !self.notes().hooks.is_empty()
    }

    /// Takes what the handler leaves, because the attempt has ended: what it has reported and, if it `completes`, its writes with the
    /// completion. What is reported after this is ignored. The last progress is published if it was not.
    pub fn close(&self, completes: bool) -> (Vec<CompleteHook>, Option<Box<Reports>>) {
        let (hooks, reports, is_unpublished) = {
            let mut notes = self.notes();
            notes.is_closed = true;
            let hooks = if completes { std::mem::take(&mut notes.hooks) } else { Vec::new() };
            (hooks, notes.reports.take(), notes.is_unpublished)
        };
        if is_unpublished && self.shared.bus.hears_attempts() {
            self.publish(reports.as_ref().and_then(|reports| reports.so_far().progress.clone()));
        }
        (hooks, reports)
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
