//! One attempt of one job, from its start to its end.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::binding::{Binding, Handling};
use super::slow_poll::SLOW_POLL;
use crate::error::BoxError;
use crate::handler::{AttemptFacts, Batch, CalledAt, GuestFacts, Run, Runnable};
use crate::job::{AttemptNumber, Caller, Ending, FailureKind, KindId, Payload, QueueId, ReadyJob, Retry, RunNumber};
use crate::scheduler::{RunId, Start};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use crate::time::{Now, TimeReader};

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kill {
    Timeout = 1,
    Release = 2,
    /// The cancel of its job was requested, and its handler has had its grace or gets none.
    Cancel = 3,
}

/// One attempt. It is made when its job is handed out, and shared by all code that works on it until its end is sent to the
/// writer.
pub(crate) struct Attempt {
    pub run: RunId,
    pub queue: QueueId,
    number: AttemptNumber,
    /// The worker that makes the attempt.
    pub binding: Arc<Binding>,
    /// Whether nothing else ran when the job was handed out.
    pub alone: bool,
    pub handed_out: Now,
    /// The span in which the job was enqueued, if it is known.
    pub caller: Option<Caller>,
    /// Whether the handler needs a thread of its own.
    pub blocking: bool,
    /// Whether its handler is a batch handler.
    pub is_batched: bool,
    /// What the handler may see of the attempt.
    pub facts: Arc<AttemptFacts>,
    killed: AtomicU8,
    kill: Notify,
    /// When it is ended because the cancel of its job was requested: nanoseconds of the monotonic clock, or [`NEVER`].
    cancel_by: AtomicU64,
    /// Whether the handler was called: one of the constants below.
    called: AtomicU8,
    /// Whether the first poll of the async handler has returned without a result.
    awaited: AtomicBool,
    /// Whether it has joined a batch.
    joined: AtomicBool,
}

/// The attempt waits for a thread, or for the async runtime.
const WAITS: u8 = 0;
/// The same, and its start is to be written once the handler is called.
const WAITS_FOR_ITS_MARK: u8 = 1;
/// The handler was called.
const CALLED: u8 = 2;

const NEVER: u64 = u64::MAX;

impl Attempt {
    /// The start has the name of the job's kind with it.
    pub fn new(
        (start, kind): (Start, Arc<str>),
        binding: Arc<Binding>,
        number: AttemptNumber,
        caller: Option<Caller>,
        run_number: RunNumber,
        time: TimeReader,
        now: Now,
    ) -> Self {
        let Start { run, queue, job, alone, .. } = start;
        let handling = binding.handling(job.kind()).expect("the caller has looked it up");
        let timeout = binding.timeout(handling, job.record.extra.as_deref().and_then(|extra| extra.timeout));
        let guest = GuestFacts::of(&job.record);
        let facts = AttemptFacts {
            job,
            queue: binding.queue.clone(),
            kind,
            attempt: number.number,
            max_attempts: number.max,
            run: run_number,
            timeout,
            shared: binding.shared.clone(),
            time,
            live: Default::default(),
            guest,
        };
        Self {
            run,
            queue,
            number,
            alone,
            handed_out: now,
            caller,
            blocking: handling.blocks(),
            is_batched: matches!(handling.runnable.run, Run::Batch(_)),
            facts: Arc::new(facts),
            killed: AtomicU8::new(0),
            kill: Notify::new(),
            cancel_by: AtomicU64::new(NEVER),
            called: AtomicU8::new(WAITS),
            awaited: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            binding,
        }
    }

    /// The job as it was when it was handed out.
    pub fn job(&self) -> &Arc<ReadyJob> {
        &self.facts.job
    }

    /// The start of an attempt that was not entered, so that the job can go back unstarted.
    pub fn start_again(&self) -> Start {
        Start { run: self.run, queue: self.queue, job: self.job().clone(), commit_first: true, alone: self.alone }
    }

    /// Notes that the handler is about to be called: at `at`, if the clock was read just now. Returns true if
    /// [`Self::is_called`] has asked before: the start of the attempt is due to be written then.
    pub(super) fn call(&self, at: Option<CalledAt>) -> bool {
        match at {
            Some(at) => self.facts.call_begins(at),
            None => self.facts.call_begins_now(),
        }
        self.called.swap(CALLED, Ordering::SeqCst) == WAITS_FOR_ITS_MARK
    }

    /// Whether the handler was called. If it was not, [`Self::call`] will return true.
    pub fn is_called(&self) -> bool {
        self.called.compare_exchange(WAITS, WAITS_FOR_ITS_MARK, Ordering::SeqCst, Ordering::SeqCst) == Err(CALLED)
    }

    /// The attempt's number. It started when the handler was called. Before that, the time is when the job was handed out.
    pub fn number(&self) -> AttemptNumber {
        match self.facts.called_at() {
            Some(CalledAt { wall, .. }) => AttemptNumber { started_at: wall, ..self.number },
            None => self.number,
        }
    }

    /// How long the handler has run.
    pub fn took(&self, now: Now) -> Duration {
        self.facts.called_at().map_or(Duration::ZERO, |called| now.mono.saturating_sub(called.mono))
    }

    /// Notes that it joins a batch.
    pub(super) fn note_joined(&self) {
        self.joined.store(true, Ordering::Release);
    }

    /// Whether it is about to join a batch.
    pub fn is_joining(&self) -> bool {
        self.is_batched && !self.joined.load(Ordering::Acquire)
    }

    /// Notes that the async handler waits for something.
    pub(super) fn note_awaited(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Warns if a poll of the async handler `took` too long.
    pub(super) fn warn_if_slow(&self, took: Duration, now: Duration) {
        if took > SLOW_POLL {
            self.handling().slow_polls.warn(&self.facts, took, now);
        }
    }

    /// Whether the async handler has ever waited for something.
    fn has_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    fn handling(&self) -> &Handling {
        self.binding.handling(self.job().kind()).expect("it was looked up when the attempt was made")
    }

    /// The kind whose handler is called: that of its job, unless the worker handles all kinds.
    pub(super) fn handled_as(&self) -> KindId {
        self.binding.handled_as(self.job().kind())
    }

    pub(super) fn runnable(&self) -> &Runnable {
        &self.handling().runnable
    }

    /// How often its job is tried.
    pub fn retry(&self) -> &Retry {
        self.binding.retry(self.handling())
    }

    /// How batches of its kind form, if its handler is a batch handler.
    pub(super) fn batch(&self) -> Option<Batch> {
        match &self.runnable().run {
            Run::Batch(handler) => Some(handler.settings),
            Run::Async(_) | Run::Blocking(_) => None,
        }
    }

    /// The payload as it was given.
    ///
    /// # Errors
    /// Why the payload codec cannot read it.
    pub(super) fn payload(&self) -> Result<Cow<'_, Payload>, BoxError> {
        self.binding.coder.payload(&self.job().record.payload)
    }

    // --- its end --------------------------------------------------------------------------------

    /// Tells the handler to stop. An async handler is dropped at its next await.
    pub(super) fn end(&self, why: Kill) {
        let first = self.killed.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if first {
            self.facts.cancel();
            self.kill.notify_waiters();
        }
    }

    /// Tells the handler to stop, because the cancel of its job was requested. Returns false if the attempt was ended at once:
    /// its handler was not called, or is a plugin that cannot react. Otherwise it is ended at `by`.
    pub(super) fn cancel(&self, by: Duration) -> bool {
        let is_blind = self.handling().foreign.is_some() && !self.facts.guest.sees_cancel();
        if self.facts.called_at().is_none() || is_blind {
            self.end(Kill::Cancel);
            return false;
        }
        let by = by.as_nanos().min(u128::from(NEVER - 1)) as u64;
        let _ = self.cancel_by.compare_exchange(NEVER, by, Ordering::SeqCst, Ordering::SeqCst);
        self.facts.cancel();
        true
    }

    /// When it is ended because its cancel was requested.
    pub(super) fn cancel_by(&self) -> Option<Duration> {
        let by = self.cancel_by.load(Ordering::SeqCst);
        (by != NEVER).then(|| Duration::from_nanos(by))
    }

    pub(super) fn killed(&self) -> Option<Kill> {
        match self.killed.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Kill::Timeout),
            2 => Some(Kill::Release),
            _ => Some(Kill::Cancel),
        }
    }

    /// Woken when the attempt is ended from outside.
    pub(super) fn kill(&self) -> &Notify {
        &self.kill
    }

    /// How the attempt has ended, as of `now`, if its handler has ended with `ending`. An attempt whose time is over has failed,
    /// whatever the handler returned. Only this decides that, so that all handlers have one rule: the time when they return
    /// counts.
    pub fn judge(&self, ending: Ending, now: Now) -> Ending {
        if !self.blocking && !self.has_awaited() {
            // The handler returned in its first poll, which took the whole attempt.
            self.warn_if_slow(self.took(now), now.mono);
        }
        if self.killed() != Some(Kill::Timeout) && !self.facts.is_overdue(now.mono) {
            return ending;
        }
        match ending {
            Ending::Failed { kind: FailureKind::Timeout, .. } | Ending::Released | Ending::Uncalled => ending,
            // The handler was never called, and never can be.
            Ending::Undecodable(_) => ending,
            Ending::Failed { message, .. } => self.timed_out(Some(&message)),
            _ => self.timed_out(None),
        }
    }

    /// How the attempt has ended, if it was ended from outside.
    pub(super) fn ending_from_outside(&self) -> Ending {
        match self.killed() {
            Some(Kill::Timeout) => self.timed_out(None),
            // The writer knows the reason.
            Some(Kill::Cancel) => Ending::Cancelled("its cancel was requested".to_owned()),
            _ => Ending::Released,
        }
    }

    fn timed_out(&self, and_then: Option<&str>) -> Ending {
        let timeout = self.facts.timeout.unwrap_or_default();
        let mut message = format!("the attempt ran longer than its timeout of {timeout:?}");
        if let Some(failure) = and_then {
            message.push_str("; after that its handler failed: ");
            message.push_str(failure);
        }
        Ending::Failed { kind: FailureKind::Timeout, message, delay: None }
    }
}
