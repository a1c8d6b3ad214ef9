use std::time::Duration;

use crate::error::Error;
use crate::time::Now;

/// First and longest wait between two tries to open the file again.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(5);

/// Why the file cannot be written, and when it is tried again.
pub(super) struct Healing {
    pub reason: String,
    wait: Duration,
    /// On the monotonic clock; never, if nothing in memory can be trusted any more.
    next: Option<Duration>,
}

impl Healing {
    pub fn begin(error: &Error, now: Now) -> Self {
        Self { reason: reason(error), wait: REOPEN_AFTER, next: Some(now.mono.saturating_add(REOPEN_AFTER)) }
    }

    /// Not before the process opens the file anew.
    pub fn never(reason: String) -> Self {
        Self { reason, wait: Duration::MAX, next: None }
    }

    pub fn is_hopeless(&self) -> bool {
        self.next.is_none()
    }

    pub fn failed_again(&mut self, error: &Error, now: Now) {
        self.reason = reason(error);
        self.wait = (self.wait * 2).min(REOPEN_AFTER_MAX);
        self.next = Some(now.mono.saturating_add(self.wait));
    }

    /// How long until the next try.
    pub fn wait(&self, now: Now) -> Duration {
        self.next.map_or(Duration::MAX, |next| next.saturating_sub(now.mono))
    }
}

fn reason(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
