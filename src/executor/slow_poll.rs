//! Warns of async handlers that keep their thread: while one is being polled, nothing else runs on that thread of the
//! application's runtime, neither other handlers nor the application's own tasks.

use std::time::Duration;

use super::attempt::Attempt;
use crate::sync::Mutex;
use crate::time::Now;

/// One poll that takes longer is worth a warning: a poll between two awaits takes microseconds, and 100 ms is what a person
/// notices of a server that answers late.
pub(crate) const SLOW_POLL: Duration = Duration::from_millis(100);

/// How long a worker's kind is not warned of again.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When it was last said of one kind of one worker, on the monotonic clock.
#[derive(Default)]
pub(crate) struct SlowPolls {
    said_at: Mutex<Option<Duration>>,
}

impl SlowPolls {
    /// Whether to say it now. Says so once a minute at most.
    fn is_to_be_said(&self, now: Duration) -> bool {
        let mut said_at = self.said_at.lock().unwrap_or_else(|e| e.into_inner());
        let is_new = said_at.is_none_or(|said_at| now.saturating_sub(said_at) >= SAY_AGAIN_AFTER);
        if is_new {
            *said_at = Some(now);
        }
        is_new
    }
}

/// The polls of one async handler. A handler that is done with its first poll costs no reading of the clock here: its
/// attempt's time is the poll's, see [`after_only_poll`].
#[derive(Default)]
pub(super) struct Polls {
    /// The first poll has returned.
    is_first_over: bool,
}

impl Polls {
    /// A poll begins. When, if that is not when its handler was called.
    pub fn begin(&self, attempt: &Attempt) -> Option<Duration> {
        self.is_first_over.then(|| attempt.facts.monotonic())
    }

    /// The poll that began then has returned. It `is_pending` if another one follows.
    pub fn end(&mut self, attempt: &Attempt, began: Option<Duration>, is_pending: bool) {
        if !self.is_first_over && !is_pending {
            return;
        }
        if !self.is_first_over {
            self.is_first_over = true;
            attempt.note_awaited();
        }
        let began = began.or_else(|| attempt.facts.called_at().map(|called| called.mono));
        let now = attempt.facts.monotonic();
        warn_if_slow(attempt, now.saturating_sub(began.unwrap_or(now)), now);
    }
}

/// An attempt has ended at `now`. If its handler was async and never waited, that was one poll.
pub(super) fn after_only_poll(attempt: &Attempt, now: Now) {
    if !attempt.blocking && !attempt.has_awaited() {
        warn_if_slow(attempt, attempt.took(now), now.mono);
    }
}

fn warn_if_slow(attempt: &Attempt, took: Duration, now: Duration) {
    // A plugin gives way by itself, and has no other way to be run.
    if took <= SLOW_POLL || attempt.facts.plugin().is_some() || !attempt.handling().slow_polls.is_to_be_said(now) {
        return;
    }
    let facts = &attempt.facts;
    tracing::warn!(
        id = facts.id.get(),
        queue = &*facts.queue,
        kind = &*facts.kind,
        ?took,
        "an async handler kept its thread for {took:?} between two awaits: use `handle_blocking` for it, or `spawn_blocking` inside"
    );
}
