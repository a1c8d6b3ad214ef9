use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::attempt::{AttemptError, FailureKind, REASON_BYTES_MAX};
use super::outcome::Outcome;
use super::record::Record;
use super::retry::Retry;
use crate::text::cut;
use crate::time::{Due, Now, Timestamp};

/// What a job is, seen from outside.
///
/// ```
/// use millpond::State;
///
/// assert!(State::Dead.is_final());
/// assert!(!State::Retrying.is_final());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// Could run: waits for a slot, its turn, or a handler. The dispatcher moves it on.
    Pending,
    /// Due later. The promoter makes it `Pending` when its time has come.
    Scheduled,
    /// A handler has it.
    Running,
    /// An attempt failed; due again later. The promoter moves it on.
    Retrying,
    /// Done. Kept as long as the queue's retention says, by default only if it has a result.
    Completed,
    /// Failed for good: in the dead-letter table until redriven or purged.
    Dead,
    /// Stopped on purpose: cancelled, discarded by its handler, or expired.
    Cancelled,
    /// Waits for other jobs. Reserved: nothing enters this state yet.
    Blocked,
}

impl State {
    /// Whether a job in this state will never run again by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }
}

/// How an attempt ended, as the executor reports it.
#[derive(Debug)]
pub(crate) enum Ending {
    Done(Option<Bytes>),
    Failed {
        kind: FailureKind,
        message: String,
        delay: Option<Duration>,
    },
    Undecodable(String),
    Snoozed(Duration),
    /// Back to where it was, no attempt used: the queue or group was told to slow down.
    RateLimited(Duration),
    Discarded(String),
    DeadLetter(String),
    /// Taken back by a shutdown while its handler ran: no attempt used, unless it runs at most once.
    Released,
    /// Taken back before its handler was called: no attempt used.
    Uncalled,
    /// Never started: its expiry had passed.
    Expired,
}

impl Ending {
    /// Not now, as its handler has answered, with the least delay that there is for that.
    pub fn snoozed(delay: Duration) -> Self {
        Self::Snoozed(delay.max(Outcome::SNOOZE_MIN))
    }

    /// "Too many requests", as its handler has answered, with the least delay that there is for that.
    pub fn rate_limited(delay: Duration) -> Self {
        Self::RateLimited(delay.max(Outcome::SNOOZE_MIN))
    }
}

/// Where the job goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Complete,
    /// Runs again, not before this.
    Wait(Due),
    /// Back to its old place.
    Stay,
    Cancel,
    Die,
}

/// The facts of one attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptNumber {
    pub number: u32,
    pub max: u32,
    /// Its job runs at most once: there is no other attempt, whatever becomes of this one.
    pub once: bool,
    pub started_at: Timestamp,
}

/// What follows an attempt. Writes into `record` what it learned; `random` (0 up to 1) feeds the
/// jitter.
pub(crate) fn after(
    record: &mut Record,
    attempt: AttemptNumber,
    ending: Ending,
    retry: &Retry,
    now: Now,
    random: f64,
) -> Next {
    match ending {
        Ending::Done(result) => {
            completed(record, attempt, now);
            record.extra_mut().result = result;
            Next::Complete
        }
        Ending::Failed { kind, message, delay } => {
            fail(record, attempt, kind, message, now);
            if attempt.number >= attempt.max {
                return die(record, attempt, "no attempts left".into(), now);
            }
            let own = record.extra.as_ref().and_then(|extra| extra.backoff.as_ref());
            let delay = delay.unwrap_or_else(|| retry.delay(own, attempt.number, random));
            let delay = delay.max(Retry::wait_min(attempt.number));
            record.state = State::Retrying;
            wait(record, delay, now)
        }
        Ending::Undecodable(message) => {
            fail(record, attempt, FailureKind::Undecodable, message, now);
            die(record, attempt, "the payload could not be decoded".into(), now)
        }
        Ending::Snoozed(delay) => {
            let extra = record.extra_mut();
            extra.snoozes = extra.snoozes.saturating_add(1);
            record.state = if record.attempts == 0 { State::Scheduled } else { State::Retrying };
            wait(record, delay, now)
        }
        Ending::Released if attempt.once => {
            let message = "the process was stopped while this attempt ran";
            fail(record, attempt, FailureKind::Crash, message.to_owned(), now);
            die(record, attempt, format!("it runs at most once: {message}"), now)
        }
        Ending::RateLimited(_) | Ending::Released | Ending::Uncalled => Next::Stay,
        Ending::Discarded(reason) => {
            record.attempts = attempt.number;
            end(record, State::Cancelled, attempt.started_at, now);
            record.extra_mut().reason = Some(cut(reason, REASON_BYTES_MAX));
            Next::Cancel
        }
        Ending::Expired => {
            expire(record, now);
            Next::Cancel
        }
        Ending::DeadLetter(reason) => {
            record.attempts = attempt.number;
            die(record, attempt, reason, now)
        }
    }
}

/// It has not started, and its expiry has passed. Returns the reason that its record bears.
pub(crate) fn expire(record: &mut Record, now: Now) -> &'static str {
    let reason = "expired";
    record.state = State::Cancelled;
    let extra = record.extra_mut();
    extra.reason = Some(reason.into());
    extra.ended_at = Some(now.wall);
    reason
}

/// A record that is kept although nothing more follows.
pub(crate) fn completed(record: &mut Record, attempt: AttemptNumber, now: Now) {
    record.attempts = attempt.number;
    end(record, State::Completed, attempt.started_at, now);
}

/// What follows an attempt that the process did not survive.
///
/// `blamed` says that this job, and no other that ran beside it, is held responsible. Only then
/// may the crash be its last attempt: who merely ran beside a crash always gets another run.
pub(crate) fn after_crash(record: &mut Record, attempt: AttemptNumber, blamed: bool, now: Now) -> Next {
    let message = "the process died while this attempt ran";
    fail(record, attempt, FailureKind::Crash, message.to_owned(), now);
    let extra = record.extra_mut();
    extra.crashes = extra.crashes.saturating_add(1);
    if attempt.once {
        return die(record, attempt, format!("it runs at most once: {message}"), now);
    }
    record.attempts = if blamed { attempt.number } else { attempt.number.min(attempt.max - 1) };
    if record.attempts >= attempt.max {
        return die(record, attempt, "no attempts left: the process died in the last one".into(), now);
    }
    Next::Stay
}

/// Notes that the attempt has failed, which uses it up.
fn fail(record: &mut Record, attempt: AttemptNumber, kind: FailureKind, message: String, now: Now) {
    let error = AttemptError::new(attempt.number, kind, message, attempt.started_at, now.wall);
    record.attempts = attempt.number;
    record.extra_mut().push_error(error);
}

fn wait(record: &mut Record, delay: Duration, now: Now) -> Next {
    let due = Due::after(now, delay);
    record.extra_mut().due = Some(due);
    Next::Wait(due)
}

fn die(record: &mut Record, attempt: AttemptNumber, reason: String, now: Now) -> Next {
    end(record, State::Dead, attempt.started_at, now);
    record.extra_mut().reason = Some(cut(reason, REASON_BYTES_MAX));
    Next::Die
}

fn end(record: &mut Record, state: State, started_at: Timestamp, now: Now) {
    record.state = state;
    let extra = record.extra_mut();
    extra.started_at = Some(started_at);
    extra.ended_at = Some(now.wall);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: u32, max: u32) -> AttemptNumber {
        AttemptNumber { number, max, once: false, started_at: Timestamp::from_millis(5) }
    }

    fn only_attempt() -> AttemptNumber {
        AttemptNumber { once: true, ..attempt(1, 1) }
    }

    fn now() -> Now {
        let at = Timestamp::from_millis(10_000);
        Now { wall: at, engine: at, age: at, counted: at, mono: Duration::from_secs(1) }
    }

    fn failed() -> Ending {
        Ending::Failed { kind: FailureKind::Error, message: "boom".into(), delay: None }
    }

    #[test]
    fn a_failure_waits_until_the_attempts_are_used_up() {
        let retry = Retry::fixed(Duration::from_secs(1)).jitter(0.0);
        let mut job = Record::plain();
        let next = after(&mut job, attempt(1, 2), failed(), &retry, now(), 0.5);
        assert_eq!(next, Next::Wait(Due::after(now(), Duration::from_secs(1))));
        assert_eq!((job.state, job.attempts), (State::Retrying, 1));
        assert_eq!(after(&mut job, attempt(2, 2), failed(), &retry, now(), 0.5), Next::Die);
        assert_eq!(job.extra.unwrap().errors.len(), 2);
    }

    #[test]
    fn snooze_release_and_rate_limit_use_no_attempt() {
        for ending in
            [Ending::Snoozed(Duration::from_secs(1)), Ending::Released, Ending::RateLimited(Duration::from_secs(1))]
        {
            let mut job = Record::plain();
            after(&mut job, attempt(1, 1), ending, &Retry::none(), now(), 0.5);
            assert_eq!(job.attempts, 0);
        }
    }

    #[test]
    fn a_job_that_comes_back_at_once_does_so_ten_times_and_then_waits() {
        let wait_of = |attempt_number: u32, delay: Option<Duration>| {
            let retry = Retry::fixed(Duration::ZERO).jitter(0.0);
            let ending = Ending::Failed { kind: FailureKind::Error, message: "boom".into(), delay };
            match after(&mut Record::plain(), attempt(attempt_number, u32::MAX), ending, &retry, now(), 0.5) {
                Next::Wait(due) => due.wait(now()),
                other => panic!("{other:?}"),
            }
        };
        for delay in [None, Some(Duration::ZERO)] {
            assert_eq!(wait_of(1, delay), Duration::ZERO);
            assert_eq!(wait_of(Retry::AT_ONCE_MAX, delay), Duration::ZERO);
            assert_eq!(wait_of(Retry::AT_ONCE_MAX + 1, delay), Retry::WAIT_MIN);
            assert_eq!(wait_of(u32::MAX - 1, delay), Retry::WAIT_MIN);
        }
        assert_eq!(wait_of(Retry::AT_ONCE_MAX + 1, Some(Retry::WAIT_MIN * 2)), Retry::WAIT_MIN * 2);
    }

    #[test]
    fn a_job_that_runs_at_most_once_is_dead_whatever_cuts_its_run_short() {
        let mut released = Record::plain();
        assert_eq!(after(&mut released, only_attempt(), Ending::Released, &Retry::none(), now(), 0.5), Next::Die);
        let mut crashed = Record::plain();
        assert_eq!(after_crash(&mut crashed, only_attempt(), false, now()), Next::Die);
        for job in [released, crashed] {
            let extra = job.extra.unwrap();
            assert_eq!((job.state, job.attempts, extra.errors[0].kind), (State::Dead, 1, FailureKind::Crash));
            assert!(extra.reason.unwrap().starts_with("it runs at most once: "));
        }
        let mut uncalled = Record::plain();
        assert_eq!(after(&mut uncalled, only_attempt(), Ending::Uncalled, &Retry::none(), now(), 0.5), Next::Stay);
        assert_eq!(uncalled.attempts, 0);
    }

    #[test]
    fn a_crash_kills_only_the_blamed() {
        let mut beside = Record::plain();
        assert_eq!(after_crash(&mut beside, attempt(1, 1), false, now()), Next::Stay);
        assert_eq!((beside.attempts, beside.crashes()), (0, 1));
        let mut blamed = Record::plain();
        assert_eq!(after_crash(&mut blamed, attempt(1, 1), true, now()), Next::Die);
        let mut early = Record::plain();
        assert_eq!(after_crash(&mut early, attempt(1, 3), true, now()), Next::Stay);
        assert_eq!(early.attempts, 1);
    }

    #[test]
    fn errors_are_kept_up_to_a_limit_the_first_one_always() {
        let retry = Retry::fixed(Duration::ZERO).jitter(0.0);
        let mut job = Record::plain();
        for number in 1..=80 {
            after(&mut job, attempt(number, u32::MAX), failed(), &retry, now(), 0.5);
        }
        let errors = job.extra.unwrap().errors;
        assert_eq!(errors.len(), crate::job::attempt::ATTEMPT_ERRORS_MAX);
        assert_eq!(errors[0].attempt, 1);
        assert_eq!(errors.last().unwrap().attempt, 80);
    }
}
