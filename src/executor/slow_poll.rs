//! Warns of async handlers that keep their thread: while one is being polled, nothing else runs on that thread of the
//! application's runtime, neither other handlers nor the application's own tasks.

use std::time::Duration;

use crate::handler::AttemptFacts;
use crate::sync::Mutex;

/// A poll that takes longer is worth a warning. A poll between two awaits usually takes microseconds, and after 100 ms a
/// person notices that a server answers late.
pub(super) const SLOW_POLL: Duration = Duration::from_millis(100);

/// How long to wait until the same kind of the same worker is warned of again.
const WARN_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// When one kind of one worker was last warned of, on the monotonic clock.
#[derive(Default)]
pub(crate) struct SlowPolls {
    warned_at: Mutex<Option<Duration>>,
}

impl SlowPolls {
    /// Warns of a poll that took longer than [`SLOW_POLL`], unless a warning was logged within the last minute.
    #[cold]
    pub fn warn(&self, facts: &AttemptFacts, took: Duration, now: Duration) {
        // A plugin yields by itself, and there is no other way to run it.
        if facts.guest.plugin().is_some() || !self.is_due(now) {
            return;
        }
        tracing::warn!(
            id = facts.id().get(),
            queue = &*facts.queue,
            kind = &*facts.kind,
            ?took,
            "an async handler kept its thread for {took:?} between two awaits: use `handle_blocking` for it, or `spawn_blocking` inside"
        );
    }

    fn is_due(&self, now: Duration) -> bool {
        let mut warned_at = self.warned_at.lock().unwrap_or_else(|e| e.into_inner());
        let is_due = warned_at.is_none_or(|warned_at| now.saturating_sub(warned_at) >= WARN_AGAIN_AFTER);
        if is_due {
            *warned_at = Some(now);
        }
        is_due
    }
}
