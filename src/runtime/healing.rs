//! Why the file cannot be written, and when the next try to open it again is due.

use std::time::Duration;

use crate::error::Error;
use crate::time::Now;

/// First and longest wait between two tries to open the file again.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(5);

/// Why the file cannot be written, and when the next try to open it again is due.
pub(super) struct Healing {
    pub reason: String,
    /// The application holds the write transaction. Nothing has failed, so the next try costs nothing.
    pub is_held: bool,
    wait: Duration,
    /// When the next try is due, on the monotonic clock. `None` if nothing in memory can be trusted any more.
    next: Option<Duration>,
}

impl Healing {
    pub fn begin(error: &Error, now: Now) -> Self {
        let next = Some(now.mono.saturating_add(REOPEN_AFTER));
        Self { reason: reason(error), is_held: is_held(error), wait: REOPEN_AFTER, next }
    }

    /// Nothing is tried: the process has to open the file again.
    pub fn never(reason: String) -> Self {
        Self { reason, is_held: false, wait: Duration::MAX, next: None }
    }

    pub fn is_hopeless(&self) -> bool {
        self.next.is_none()
    }

    /// Takes note that a try has failed. Returns whether to log that.
    pub fn failed_again(&mut self, error: &Error, now: Now) -> bool {
        let was_held = std::mem::replace(&mut self.is_held, is_held(error));
        self.reason = reason(error);
        self.wait = if self.is_held { REOPEN_AFTER } else { (self.wait * 2).min(REOPEN_AFTER_MAX) };
        self.next = Some(now.mono.saturating_add(self.wait));
        !(was_held && self.is_held)
    }

    /// How long until the next try.
    pub fn wait(&self, now: Now) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.saturating_sub(now.mono))
    }
}

fn is_held(error: &Error) -> bool {
    matches!(error, Error::WriteHeld { .. })
}

fn reason(error: &Error) -> String {
    match (error, std::error::Error::source(error)) {
        (Error::WriteHeld { held_by, .. }, _) => format!("{held_by}: end it"),
        (_, Some(source)) => format!("{error}: {source}"),
        (_, None) => error.to_string(),
    }
}
