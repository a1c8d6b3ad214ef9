//! One attempt of one job, from its start to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::binding::{Binding, Handling};
use super::slow_poll;
use crate::handler::{AttemptFacts, CalledAt, Runnable};
use crate::job::{AttemptNumber, Caller, Ending, FailureKind, Payload, QueueId, ReadyJob, RunNumber};
use crate::scheduler::{RunId, Start};
use crate::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use crate::time::{Now, TimeReader};

/// Why an attempt is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kill {
    Timeout = 1,
    Release = 2,
}

/// One attempt. It is made when its job is handed out, and shared by everything that has to do with it until its end is on its
/// way to the writer.
pub(crate) struct Attempt {
    pub run: RunId,
    pub queue: QueueId,
    /// The job, as it was when it was handed out.
    pub job: Arc<ReadyJob>,
    number: AttemptNumber,
    /// The worker that makes it.
    pub binding: Arc<Binding>,
    /// Nothing else ran when it was handed out.
    pub alone: bool,
    pub handed_out: Now,
    /// What enqueued the job, if that is known.
    pub caller: Option<Caller>,
    /// Its handler needs a thread of its own.
    pub blocking: bool,
    /// What its handler may see of it.
    pub facts: Arc<AttemptFacts>,
    killed: AtomicU8,
    kill: Notify,
    /// How far it is from its handler's call: one of the constants below.
    called: AtomicU8,
    /// Its async handler was not done with its first poll.
    awaited: AtomicBool,
}

/// Handed out: it waits for a thread, or for the async runtime.
const WAITS: u8 = 0;
/// The same, and its start is to be written once its handler is called.
const WAITS_FOR_ITS_MARK: u8 = 1;
/// Its handler is called.
const CALLED: u8 = 2;

impl Attempt {
    pub fn new(
        start: Start,
        binding: Arc<Binding>,
        number: AttemptNumber,
        caller: Option<Caller>,
        run_number: RunNumber,
        time: TimeReader,
        now: Now,
    ) -> Self {
        let Start { run, queue, job, alone, .. } = start;
        let handling = &binding.handlers[&job.kind()];
        let record = &job.record;
        let facts = AttemptFacts {
            id: job.id,
            queue: binding.queue.clone(),
            kind: handling.kind.clone(),
            group: record.group().cloned(),
            priority: record.priority,
            attempt: number.number,
            max_attempts: number.max,
            run: run_number,
            enqueued_at: record.enqueued_at,
            #[cfg(feature = "wasm")]
            generation: record.generation(),
            timeout: binding.timeout(job.kind(), record.extra.as_deref().and_then(|extra| extra.timeout)),
            data: binding.data.clone(),
            time,
            live: Default::default(),
        };
        Self {
            run,
            queue,
            number,
            alone,
            handed_out: now,
            caller,
            blocking: handling.blocks(),
            facts: Arc::new(facts),
            killed: AtomicU8::new(0),
            kill: Notify::new(),
            called: AtomicU8::new(WAITS),
            awaited: AtomicBool::new(false),
            job,
            binding,
        }
    }

    /// Its start once more, for an attempt that was not entered: the job goes back unstarted.
    pub fn start_again(&self) -> Start {
        Start { run: self.run, queue: self.queue, job: self.job.clone(), commit_first: true, alone: self.alone }
    }

    /// Notes that its handler is about to be called: at `at` if the clock was read just now. Returns true if its start should have
    /// been written by now, had the handler been called earlier: then whatever writes starts is to check it again.
    pub(super) fn call(&self, at: Option<CalledAt>) -> bool {
        match at {
            Some(at) => self.facts.call_begins(at),
            None => self.facts.call_begins_now(),
        }
        self.called.swap(CALLED, Ordering::SeqCst) == WAITS_FOR_ITS_MARK
    }

    /// Whether its handler was called. If not, [`Self::call`] will say that its start is to be written.
    pub fn is_called(&self) -> bool {
        self.called.compare_exchange(WAITS, WAITS_FOR_ITS_MARK, Ordering::SeqCst, Ordering::SeqCst) == Err(CALLED)
    }

    /// Its number. It started when its handler was called, or, before that, when it was handed out.
    pub fn number(&self) -> AttemptNumber {
        match self.facts.called_at() {
            Some(CalledAt { wall, .. }) => AttemptNumber { started_at: wall, ..self.number },
            None => self.number,
        }
    }

    /// How long its handler has run.
    pub fn took(&self, now: Now) -> Duration {
        self.facts.called_at().map_or(Duration::ZERO, |called| now.mono.saturating_sub(called.mono))
    }

    /// Notes that its async handler waits for something.
    pub(super) fn note_awaited(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Whether its async handler has ever waited for something.
    pub(super) fn has_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    pub(super) fn handling(&self) -> &Handling {
        &self.binding.handlers[&self.job.kind()]
    }

    pub(super) fn runnable(&self) -> &Runnable {
        &self.handling().runnable
    }

    pub(super) fn payload(&self) -> &Payload {
        &self.job.record.payload
    }

    // --- its end --------------------------------------------------------------------------------

    /// Tells the handler to stop. One that is async is dropped at its next await.
    pub(super) fn end(&self, why: Kill) {
        let first = self.killed.compare_exchange(0, why as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if first {
            self.facts.cancel();
            self.kill.notify_waiters();
        }
    }

    pub(super) fn killed(&self) -> Option<Kill> {
        match self.killed.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Kill::Timeout),
            _ => Some(Kill::Release),
        }
    }

    /// Woken when the attempt is ended from outside.
    pub(super) fn kill(&self) -> &Notify {
        &self.kill
    }

    /// How it has ended, as of `now`, if its handler has ended with `ending`. An attempt whose time is over has failed, whatever its
    /// handler returned. This is the only place that decides so: one rule for all handlers, by the clock at the time of
    /// their return.
    pub fn judge(&self, ending: Ending, now: Now) -> Ending {
        slow_poll::after_only_poll(self, now);
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

    /// How it has ended, if it was ended from outside.
    pub(super) fn ending_from_outside(&self) -> Ending {
        match self.killed() {
            Some(Kill::Timeout) => self.timed_out(None),
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
