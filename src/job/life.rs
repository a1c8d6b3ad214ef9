//! A job's life: what can happen to a job, and what its record says afterwards.
//!
//! Every write of a job's state is in this file. The functions are pure: the record, what happened and the time go in;
//! the changed record and a [`Transition`] come out. Where the record is stored is not known here: `storage::life` makes
//! a transition true in the file.
//!
//! ```text
//!               Enter               Promote             HandOut
//! (nothing) ----------> scheduled ----------> pending ----------> running
//!     |                    ^  |                ^ ^  ^              | | |
//!     |                    |  +-- Steer -------+ |  +-- GiveBack --+ | | End
//!     +---- Enter ---------|---------------------+                   | v
//!                          |                     PutOff              | completed, cancelled, dead
//!                          +---- or retrying <-----------------------+    |          |      |
//!                          +----------------- Redrive (dead only) --------|----------|------+
//!                                              (removed) <---- Forget ----+----------+------+
//! ```
//!
//! A job of a flow can be blocked before that (`Enter`), until the jobs that it waits for have ended (`Unblock`).
//! A job that waits can also be changed (`Steer`), replaced (`Replace`), cancelled (`Cancel`) or expire (`End`). One that waits or is dead can be moved to
//! another queue (`MoveOut`, `MoveIn`). A job that no handler has can be removed (`Purge`). A job whose row cannot be read
//! is moved to the quarantine (`Quarantine`), and comes back from there if a later build can read it (`Restore`).

use std::time::Duration;

use bytes::Bytes;

use super::attempt::{AT_MOST_ONCE, AttemptError, FailureKind, REASON_BYTES_MAX};
use super::failed_attempt::FailedAttempt;
use super::job_step::Suspension;
use super::outcome::Outcome;
use super::priority::Priority;
use super::queue_settings::Retention;
use super::record::Record;
use super::retry::Retry;
use super::state::State;
use super::stored_payload::StoredPayload;
use super::undo::{Undo, UndoneEnd};
use crate::text::cut;
use crate::time::{Due, Now, Timestamp};

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// A new job is stored. `unique_for` is how long it holds its unique key at least, if it has one.
    Enter { unique_for: Option<Duration> },
    /// A job that was in the quarantine is back.
    Restore,
    /// The jobs of its flow have ended for which the job waited.
    Unblock,
    /// The time has come for which the job waited.
    Promote,
    /// The job was handed out, and the file is told: a start mark is written. Only a job that runs for long, or whose
    /// start must be durable, gets one. The record does not change.
    HandOut,
    /// An attempt has ended, and the job runs again once it is `due`. `failed` says whether the attempt is used up.
    PutOff { due: Due, failed: bool },
    /// An attempt has ended without an answer, and the job is back at its place. `failed` says whether the attempt
    /// counts as a failure: the process died in it.
    GiveBack { failed: bool },
    /// The job has ended in this state, which is final. Its unique key is held for the rest of its time.
    End(State),
    /// An operator has ended the job, before its attempt or with the end of it: it is cancelled, and its unique key is free
    /// at once.
    Cancel,
    /// An operator has changed a job that waits.
    Steer,
    /// A new job with the unique key of a job that waits has taken its place. The job keeps its id.
    Replace,
    /// An operator has put a dead letter back into its queue.
    Redrive,
    /// An operator has moved the job to another queue: it leaves the queue in which it was.
    MoveOut,
    /// An operator has moved the job to another queue: it enters that queue, in the state in which it was.
    MoveIn,
    /// Retention has removed what was kept of a job that has ended.
    Forget,
    /// An operator has removed the job, and its unique key is free at once.
    Purge,
    /// The job's row cannot be read, and is moved to the quarantine.
    Quarantine,
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
    /// The handler sleeps or waits in a step, until this time at the latest.
    Suspended(Suspension),
    /// The queue or the group was told to slow down: the job goes back to its place, and no attempt is used.
    RateLimited {
        delay: Duration,
        /// The whole queue is held, although the job has a group.
        whole_queue: bool,
    },
    Cancelled(String),
    DeadLetter(String),
    /// The handler was called to undo the job's steps, and they are undone.
    Undone,
    /// Taken back by a shutdown while its handler ran: no attempt used, unless it runs at most once.
    Released,
    /// Taken back before its handler was called: no attempt used.
    Uncalled,
    /// Never started: its expiry had passed.
    Expired,
}

impl Ending {
    /// The handler asked to be called later. A shorter delay than the shortest one is raised to that.
    pub fn snoozed(delay: Duration) -> Self {
        Self::Snoozed(delay.max(Outcome::SNOOZE_MIN))
    }

    /// The handler said "too many requests". A shorter delay than the shortest one is raised to that.
    pub fn rate_limited(delay: Duration, whole_queue: bool) -> Self {
        Self::RateLimited { delay: delay.max(Outcome::SNOOZE_MIN), whole_queue }
    }
}

/// Which attempt of a job this is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptNumber {
    pub number: u32,
    pub max: u32,
    /// The job runs at most once: there is no other attempt, however this one ends.
    pub once: bool,
    pub started_at: Timestamp,
}

impl AttemptNumber {
    /// The attempt of a start mark, with the most attempts as they are stored.
    pub fn of_mark(number: u32, max_attempts: u32, started_at: Timestamp) -> Self {
        Self { number, max: max_attempts.max(1), once: max_attempts == AT_MOST_ONCE, started_at }
    }

    /// The most attempts as a start mark stores them.
    pub fn max_in_mark(self) -> u32 {
        if self.once { AT_MOST_ONCE } else { self.max }
    }

    /// Whether the next attempt is the last one.
    pub fn leaves_one_to(self, record: &Record) -> bool {
        record.attempts.saturating_add(1) >= self.max
    }
}

/// What an operator changes of a waiting job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub payload: Option<StoredPayload>,
    pub priority: Option<Priority>,
    /// A new time; the epoch is "now".
    pub run_at: Option<Timestamp>,
    /// Other tags, without duplicates.
    pub tags: Option<Vec<String>>,
}

/// The error of an attempt that the process did not survive.
const CRASHED: &str = "the process died while this attempt ran";

/// The reason on the record of a job that has expired.
pub(crate) const EXPIRED: &str = "expired";

/// The reason on the record of a job that made room for a new one.
pub(crate) const DROPPED: &str = "dropped: the queue was full";

// --- before an attempt --------------------------------------------------------------------------

/// A new job waits for its time, if it has one.
pub(crate) fn enter(record: &mut Record, due: Option<Due>) {
    record.state = if due.is_some() { State::Scheduled } else { State::Pending };
    if due.is_some() {
        record.extra_mut().due = due;
    }
}

/// A new job waits for others of its flow, and then for its time, if it has one.
pub(crate) fn enter_blocked(record: &mut Record, due: Option<Due>) {
    enter(record, due);
    record.state = State::Blocked;
}

/// The jobs have ended for which a blocked job waited.
pub(crate) fn unblock(record: &mut Record, now: Now) -> Transition {
    let waits = record.due().is_some_and(|due| !due.is_due(now));
    record.state = if waits { State::Scheduled } else { State::Pending };
    Transition::Unblock
}

/// The job's time has come.
pub(crate) fn promote(record: &mut Record) {
    record.state = State::Pending;
}

/// An operator changes a job that waits.
pub(crate) fn steer(record: &mut Record, patch: &Patch, now: Now) -> Transition {
    if let Some(payload) = &patch.payload {
        record.payload = payload.clone();
    }
    if let Some(priority) = patch.priority {
        record.priority = priority;
    }
    if let Some(tags) = &patch.tags {
        record.set_tags(tags.clone());
    }
    if let Some(at) = patch.run_at {
        record.extra_mut().due = Some(Due::wall(at)).filter(|due| !due.is_due(now));
    }
    let waits = record.due().is_some_and(|due| !due.is_due(now));
    if record.state != State::Blocked {
        record.state = if waits { waiting_state(record) } else { State::Pending };
    }
    Transition::Steer
}

/// A new job takes the place of one that waits. It has the id of that job, the time of its enqueue, and none of its history.
/// If both are debounced, it starts no later than the first of them was to start.
pub(crate) fn replace(old: &Record, new: &Record, now: Now) -> (Record, Transition) {
    let mut record = Record { enqueued_at: old.enqueued_at, ..new.clone() };
    let latest = old.extra.as_ref().and_then(|extra| extra.debounced_until);
    if let (Some(extra), Some(latest)) = (record.extra.as_deref_mut(), latest)
        && extra.debounced_until.is_some()
    {
        extra.debounced_until = Some(latest);
        extra.due = extra.due.map(|due| due.min(latest));
    }
    let waits = record.due().is_some_and(|due| !due.is_due(now));
    record.state = if waits { State::Scheduled } else { State::Pending };
    (record, Transition::Replace)
}

/// An operator cancels a job that waits.
pub(crate) fn cancel(record: &mut Record, reason: &str, now: Now) -> Transition {
    end_unstarted(record, reason, now);
    Transition::Cancel
}

/// What follows an attempt during which an operator has asked to cancel the job, and that has not completed it: the job
/// ends, whatever `record` says after the attempt. Its errors stay.
pub(crate) fn cancel_requested(record: &mut Record, attempt: AttemptNumber, reason: &str, now: Now) -> Transition {
    end(record, State::Cancelled, attempt.started_at, now);
    let extra = record.extra_mut();
    extra.due = None;
    extra.reason = Some(reason.to_owned());
    Transition::Cancel
}

/// What follows an attempt that the process did not survive, if the cancel of the job was requested before.
pub(crate) fn cancel_after_crash(record: &mut Record, attempt: AttemptNumber, reason: &str, now: Now) -> Transition {
    fail(record, attempt, FailureKind::Crash, CRASHED.to_owned(), now);
    cancel_requested(record, attempt, reason, now)
}

/// The job has not started, and its expiry has passed.
pub(crate) fn expire(record: &mut Record, now: Now) -> Transition {
    end_unstarted(record, EXPIRED, now);
    Transition::End(State::Cancelled)
}

/// The job waits, and its queue has no room for a new one. Its unique key is free at once.
pub(crate) fn drop_oldest(record: &mut Record, now: Now) -> Transition {
    end_unstarted(record, DROPPED, now);
    Transition::Cancel
}

fn end_unstarted(record: &mut Record, reason: &str, now: Now) {
    record.state = State::Cancelled;
    let extra = record.extra_mut();
    extra.reason = Some(reason.to_owned());
    extra.ended_at = Some(now.wall);
}

// --- after an attempt ---------------------------------------------------------------------------

/// What follows an attempt. Writes into `record` what is known of it now; `random` (0 up to 1) feeds the jitter.
pub(crate) fn after(
    record: &mut Record,
    attempt: AttemptNumber,
    ending: Ending,
    retry: &Retry,
    now: Now,
    random: f64,
) -> Transition {
    match ending {
        Ending::Done(result) => {
            completed(record, attempt, now);
            record.extra_mut().result = result;
            Transition::End(State::Completed)
        }
        Ending::Failed { kind, message, delay } => {
            fail(record, attempt, kind, message, now);
            if attempt.number >= attempt.max {
                return die(record, attempt, "no attempts left".into(), now);
            }
            let age = now.wall.since(record.enqueued_at);
            if !retry.allows_age(age) {
                return die(record, attempt, format!("it is {age:?} old, and is not tried again"), now);
            }
            let extra = record.extra.as_deref();
            let error = extra.and_then(|extra| extra.errors.last()).map_or("", |error| &error.message);
            let failed = FailedAttempt { attempt: attempt.number, max_attempts: attempt.max, kind, error, age };
            let own = extra.and_then(|extra| extra.backoff.as_ref());
            let Some(delay) = delay.or_else(|| retry.delay(own, &failed, random)) else {
                return die(record, attempt, "its retry policy has given it up".into(), now);
            };
            let delay = delay.max(Retry::wait_min(attempt.number));
            wait(record, delay, true, now)
        }
        Ending::Undecodable(message) => {
            fail(record, attempt, FailureKind::Undecodable, message, now);
            die(record, attempt, "the payload could not be decoded".into(), now)
        }
        Ending::Snoozed(delay) => {
            let extra = record.extra_mut();
            extra.snoozes = extra.snoozes.saturating_add(1);
            wait(record, delay, false, now)
        }
        Ending::Suspended(Suspension { until, .. }) => {
            let extra = record.extra_mut();
            extra.snoozes = extra.snoozes.saturating_add(1);
            extra.due = Some(until);
            record.state = waiting_state(record);
            Transition::PutOff { due: until, failed: false }
        }
        Ending::Released if attempt.once => {
            let message = "the process was stopped while this attempt ran";
            fail(record, attempt, FailureKind::Crash, message.to_owned(), now);
            die(record, attempt, format!("it runs at most once: {message}"), now)
        }
        Ending::RateLimited { .. } | Ending::Released | Ending::Uncalled => Transition::GiveBack { failed: false },
        Ending::Cancelled(reason) => {
            record.attempts = attempt.number;
            end(record, State::Cancelled, attempt.started_at, now);
            record.extra_mut().reason = Some(cut(reason, REASON_BYTES_MAX));
            Transition::End(State::Cancelled)
        }
        Ending::Expired => expire(record, now),
        Ending::Undone => undone(record, attempt, now),
        Ending::DeadLetter(reason) => {
            record.attempts = attempt.number;
            die(record, attempt, reason, now)
        }
    }
}

// --- before an end that undoes steps ------------------------------------------------------------

/// How a job ends with this attempt, if it can undo its steps before. A job that runs at most once is not called again.
pub(crate) fn end_to_undo_before(transition: Transition, attempt: AttemptNumber) -> Option<UndoneEnd> {
    match transition {
        _ if attempt.once => None,
        Transition::End(State::Dead) => Some(UndoneEnd::Dead),
        Transition::End(State::Cancelled) => Some(UndoneEnd::Cancelled),
        Transition::Cancel => Some(UndoneEnd::CancelledByRequest),
        _ => None,
    }
}

/// The job was to end after an attempt, and has steps to undo. Its handler is called again for that, with all its attempts.
pub(crate) fn undo_after_attempt(record: &mut Record, ends: UndoneEnd, now: Now) -> Transition {
    begin_to_undo(record, ends);
    wait(record, Duration::ZERO, false, now)
}

/// The same of a job that was to end because the process has died.
pub(crate) fn undo_after_crash(record: &mut Record, ends: UndoneEnd) -> Transition {
    begin_to_undo(record, ends);
    Transition::GiveBack { failed: true }
}

/// The same of a job that an operator cancels while it waits.
pub(crate) fn undo_waiting(record: &mut Record, reason: &str) -> Transition {
    begin_to_undo(record, UndoneEnd::CancelledByRequest);
    record.extra_mut().reason = Some(reason.to_owned());
    Transition::Steer
}

fn begin_to_undo(record: &mut Record, ends: UndoneEnd) {
    let attempts = std::mem::take(&mut record.attempts);
    record.state = State::Pending;
    let extra = record.extra_mut();
    extra.undo = Some(Undo { ends, attempts });
    (extra.due, extra.started_at, extra.ended_at) = (None, None, None);
}

/// The steps are undone: the job ends as it was to end before.
fn undone(record: &mut Record, attempt: AttemptNumber, now: Now) -> Transition {
    let Some(Undo { ends, attempts }) = record.extra_mut().undo.take() else {
        return Transition::GiveBack { failed: false };
    };
    record.attempts = attempts;
    end(record, ends.state(), attempt.started_at, now);
    match ends {
        UndoneEnd::Dead | UndoneEnd::Cancelled => Transition::End(ends.state()),
        UndoneEnd::CancelledByRequest => Transition::Cancel,
    }
}

// --- what failed --------------------------------------------------------------------------------

/// What follows an attempt whose handler returned, but whose writes with the completion failed.
pub(crate) fn after_failed_writes(
    record: &mut Record,
    attempt: AttemptNumber,
    cause: &str,
    retry: &Retry,
    now: Now,
    random: f64,
) -> Transition {
    let message = format!("the writes with its completion failed: {cause}");
    let ending = Ending::Failed { kind: FailureKind::Error, message, delay: None };
    after(record, attempt, ending, retry, now, random)
}

/// What follows an attempt that the process did not survive.
///
/// `blamed` says that this job, and no other that ran beside it, is held responsible. Only then
/// can the crash be its last attempt: a job that merely ran beside a crash always gets another run.
pub(crate) fn after_crash(record: &mut Record, attempt: AttemptNumber, blamed: bool, now: Now) -> Transition {
    fail(record, attempt, FailureKind::Crash, CRASHED.to_owned(), now);
    let extra = record.extra_mut();
    extra.crashes = extra.crashes.saturating_add(1);
    if attempt.once {
        return die(record, attempt, format!("it runs at most once: {CRASHED}"), now);
    }
    record.attempts = if blamed { attempt.number } else { attempt.number.min(attempt.max - 1) };
    if record.attempts >= attempt.max {
        return die(record, attempt, "no attempts left: the process died in the last one".into(), now);
    }
    Transition::GiveBack { failed: true }
}

/// The record of a completed job, for a queue that keeps it.
pub(crate) fn completed(record: &mut Record, attempt: AttemptNumber, now: Now) {
    record.attempts = attempt.number;
    end(record, State::Completed, attempt.started_at, now);
}

/// Whether a queue with this retention keeps a job that has ended in this state.
pub(crate) fn is_kept(retention: &Retention, state: State, has_result: bool) -> bool {
    match state {
        State::Completed => retention.completed.count > 0 && (has_result || retention.without_result),
        State::Cancelled => retention.cancelled.count > 0,
        // Retention removes dead letters later: each is seen once.
        _ => true,
    }
}

/// A dead letter goes back into its queue with all its attempts before it. Its errors stay on the record: they are its
/// history. A member of a group is not delayed: it would hold up the members behind it.
pub(crate) fn redrive(record: &mut Record, due: Option<Due>) -> Transition {
    record.attempts = 0;
    let due = due.filter(|_| record.group().is_none());
    record.state = if due.is_some() { State::Scheduled } else { State::Pending };
    comes_back(record);
    let extra = record.extra_mut();
    extra.due = due;
    extra.crashes = 0;
    extra.expiry = None;
    extra.reason = None;
    extra.started_at = None;
    extra.ended_at = None;
    Transition::Redrive
}

/// A job that was in the quarantine is back.
pub(crate) fn restore(record: &mut Record) -> Transition {
    comes_back(record);
    Transition::Restore
}

/// Another job can hold the unique key of a job that comes back.
fn comes_back(record: &mut Record) {
    if record.unique_key().is_some() {
        record.extra_mut().is_back = true;
    }
}

/// The state of a job that waits for its time.
fn waiting_state(record: &Record) -> State {
    if record.attempts == 0 { State::Scheduled } else { State::Retrying }
}

/// Notes that the attempt has failed, which uses it up.
fn fail(record: &mut Record, attempt: AttemptNumber, kind: FailureKind, message: String, now: Now) {
    let error = AttemptError::new(attempt.number, kind, message, attempt.started_at, now.wall);
    record.attempts = attempt.number;
    record.extra_mut().push_error(error);
}

fn wait(record: &mut Record, delay: Duration, failed: bool, now: Now) -> Transition {
    record.state = if failed { State::Retrying } else { waiting_state(record) };
    let due = Due::after(now, delay);
    record.extra_mut().due = Some(due);
    Transition::PutOff { due, failed }
}

fn die(record: &mut Record, attempt: AttemptNumber, reason: String, now: Now) -> Transition {
    let reason = if record.undo().is_some() { format!("its steps could not be undone: {reason}") } else { reason };
    end(record, State::Dead, attempt.started_at, now);
    record.extra_mut().reason = Some(cut(reason, REASON_BYTES_MAX));
    Transition::End(State::Dead)
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
        assert_eq!(next, Transition::PutOff { due: Due::after(now(), Duration::from_secs(1)), failed: true });
        assert_eq!((job.state, job.attempts), (State::Retrying, 1));
        assert_eq!(after(&mut job, attempt(2, 2), failed(), &retry, now(), 0.5), Transition::End(State::Dead));
        assert_eq!(job.extra.unwrap().errors.len(), 2);
    }

    #[test]
    fn snooze_release_and_rate_limit_use_no_attempt() {
        let delay = Duration::from_secs(1);
        for ending in [
            Ending::Snoozed(delay),
            Ending::Released,
            Ending::rate_limited(delay, false),
            Ending::rate_limited(delay, true),
        ] {
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
                Transition::PutOff { due, .. } => due.wait(now()),
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
        assert_eq!(
            after(&mut released, only_attempt(), Ending::Released, &Retry::none(), now(), 0.5),
            Transition::End(State::Dead)
        );
        let mut crashed = Record::plain();
        assert_eq!(after_crash(&mut crashed, only_attempt(), false, now()), Transition::End(State::Dead));
        for job in [released, crashed] {
            let extra = job.extra.unwrap();
            assert_eq!((job.state, job.attempts, extra.errors[0].kind), (State::Dead, 1, FailureKind::Crash));
            assert!(extra.reason.unwrap().starts_with("it runs at most once: "));
        }
        let mut uncalled = Record::plain();
        assert_eq!(
            after(&mut uncalled, only_attempt(), Ending::Uncalled, &Retry::none(), now(), 0.5),
            Transition::GiveBack { failed: false }
        );
        assert_eq!(uncalled.attempts, 0);
    }

    #[test]
    fn a_crash_kills_only_the_blamed() {
        let mut beside = Record::plain();
        assert_eq!(after_crash(&mut beside, attempt(1, 1), false, now()), Transition::GiveBack { failed: true });
        assert_eq!((beside.attempts, beside.crashes()), (0, 1));
        let mut blamed = Record::plain();
        assert_eq!(after_crash(&mut blamed, attempt(1, 1), true, now()), Transition::End(State::Dead));
        let mut early = Record::plain();
        assert_eq!(after_crash(&mut early, attempt(1, 3), true, now()), Transition::GiveBack { failed: true });
        assert_eq!(early.attempts, 1);
    }

    #[test]
    fn a_job_that_undoes_its_steps_does_not_expire_and_ends_with_the_attempts_that_it_had() {
        let expiry = crate::job::Expiry::after(now(), Duration::from_secs(1));
        let all = [
            (UndoneEnd::Dead, Transition::End(State::Dead)),
            (UndoneEnd::Cancelled, Transition::End(State::Cancelled)),
            (UndoneEnd::CancelledByRequest, Transition::Cancel),
        ];
        for (ends, transition) in all {
            assert_eq!(end_to_undo_before(transition, attempt(3, 3)), Some(ends));
            let mut job = Record { attempts: 3, ..Record::plain() };
            job.extra_mut().expiry = Some(expiry);
            let begun = undo_after_attempt(&mut job, ends, now());
            assert_eq!(begun, Transition::PutOff { due: Due::after(now(), Duration::ZERO), failed: false });
            assert_eq!((job.attempts, job.expiry(), job.undo().map(|undo| undo.ends)), (0, None, Some(ends)));
            let ended = after(&mut job, attempt(2, 9), Ending::Undone, &Retry::none(), now(), 0.5);
            assert_eq!((ended, job.state, job.attempts, job.undo()), (transition, ends.state(), 3, None));
        }
    }

    #[test]
    fn a_steered_job_waits_in_the_state_that_says_whether_it_has_been_tried() {
        let later = Patch { run_at: Some(now().wall + Duration::from_secs(60)), ..Patch::default() };
        let mut job = Record::plain();
        assert_eq!(steer(&mut job, &later, now()), Transition::Steer);
        assert_eq!((job.state, job.due()), (State::Scheduled, later.run_at.map(Due::wall)));
        job.attempts = 1;
        steer(&mut job, &Patch::default(), now());
        assert_eq!(job.state, State::Retrying, "it still waits for the same time");
        steer(&mut job, &Patch { run_at: Some(Timestamp::EPOCH), ..Patch::default() }, now());
        assert_eq!((job.state, job.due()), (State::Pending, None));
    }

    #[test]
    fn a_redriven_job_starts_anew_and_a_member_of_a_group_is_not_delayed() {
        let due = Due::after(now(), Duration::from_secs(1));
        for (group, expected) in [(None, Some(due)), (Some("g".into()), None)] {
            let mut job = Record::plain();
            job.extra_mut().group = group;
            after(&mut job, attempt(1, 1), failed(), &Retry::none(), now(), 0.5);
            assert_eq!(redrive(&mut job, Some(due)), Transition::Redrive);
            let state = if expected.is_some() { State::Scheduled } else { State::Pending };
            assert_eq!((job.state, job.attempts, job.due()), (state, 0, expected));
            let extra = job.extra.unwrap();
            assert_eq!((extra.errors.len(), extra.reason, extra.ended_at), (1, None, None));
        }
    }

    #[test]
    fn a_requested_cancel_ends_the_job_whatever_the_attempt_said_and_keeps_its_errors() {
        let mut job = Record::plain();
        after(&mut job, attempt(1, 3), failed(), &Retry::none(), now(), 0.5);
        assert_eq!(cancel_requested(&mut job, attempt(1, 3), "no more", now()), Transition::Cancel);
        let extra = job.extra.unwrap();
        assert_eq!((job.state, extra.reason.as_deref(), extra.due), (State::Cancelled, Some("no more"), None));
        assert_eq!(extra.errors.len(), 1);
    }

    #[test]
    fn retention_keeps_plain_completed_jobs_only_if_it_is_told_to() {
        use crate::job::Keep;
        let usual = Retention::default();
        assert!(!is_kept(&usual, State::Completed, false) && is_kept(&usual, State::Completed, true));
        assert!(is_kept(&usual.completed(Keep::FOREVER), State::Completed, false));
        assert!(!is_kept(&usual.completed(Keep::NOTHING), State::Completed, true));
        assert!(!is_kept(&usual.cancelled(Keep::NOTHING), State::Cancelled, false));
        assert!(is_kept(&usual.dead(Keep::NOTHING), State::Dead, false), "retention removes it later");
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
