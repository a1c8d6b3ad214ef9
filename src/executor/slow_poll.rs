//! Warns of async handlers that keep their thread: while one is being polled, nothing else runs on that thread of the
//! application's runtime, neither other handlers nor the application's own tasks.

use std::time::Duration;

use super::running::Running;
use crate::sync::Mutex;

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
    pub fn begin(&self, running: &Running) -> Option<Duration> {
        self.is_first_over.then(|| running.attempted.monotonic())
    }

    /// The poll that began then has returned. It `is_pending` if another one follows.
    pub fn end(&mut self, running: &Running, began: Option<Duration>, is_pending: bool) {
        if !self.is_first_over && !is_pending {
            return;
        }
        if !self.is_first_over {
            self.is_first_over = true;
            running.note_awaited();
        }
        let began = began.or_else(|| running.attempted.started().map(|started| started.mono));
        let now = running.attempted.monotonic();
        warn_if_slow(running, now.saturating_sub(began.unwrap_or(now)), now);
    }
}

/// An attempt has ended at `now`, after `took`. If its handler was async and never waited, that was one poll.
pub(super) fn after_only_poll(running: &Running, took: Duration, now: Duration) {
    if !running.blocking && !running.has_awaited() {
        warn_if_slow(running, took, now);
    }
}

fn warn_if_slow(running: &Running, took: Duration, now: Duration) {
    // A plugin gives way by itself, and has no other way to be run.
    if took <= SLOW_POLL || running.attempted.plugin().is_some() || !running.handling().slow_polls.is_to_be_said(now) {
        return;
    }
    let facts = running.attempted.facts();
    tracing::warn!(
        id = facts.id.get(),
        queue = &*facts.queue,
        kind = &*facts.kind,
        ?took,
        "an async handler kept its thread for {took:?} between two awaits: use `handle_blocking` for it, or `spawn_blocking` inside"
    );
}
