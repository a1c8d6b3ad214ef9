//! How an attempt ends that does not finish its job.

use std::fmt::Display;
use std::time::Duration;

use crate::host;
use crate::newer::Newer;

/// What a handler returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why this attempt did not finish the job, and what shall follow.
///
/// Whatever can be displayed becomes one with `?`, and means [`retry`](Error::retry). What the attempt wrote to state and enqueued is
/// dropped in each case.
///
/// ```
/// use millpond_guest::{Error, Result};
///
/// fn parse(text: String) -> Result<u64> {
///     if text.is_empty() {
///         return Err(Error::dead_letter("there is nothing in it"));
///     }
///     Ok(text.parse()?)
/// }
/// # let _ = parse;
/// ```
// It must not be Display itself, or `From` below would compete with that of every type for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(pub(crate) Verdict);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Retry {
        reason: String,
        delay: Option<Duration>,
    },
    Cancel(String),
    DeadLetter(String),
    Snooze(Duration),
    /// A step sleeps or waits, as the host knows.
    Suspended,
    RateLimited {
        delay: Duration,
        /// The whole queue waits, even if the job has a group.
        queue: bool,
        say: Newer<fn() -> Result<(), String>>,
    },
}

impl Error {
    /// It may go well another time: try again when the queue's back-off says. Uses up one attempt.
    pub fn retry(reason: impl Display) -> Self {
        Self(Verdict::Retry { reason: format!("{reason:#}"), delay: None })
    }

    /// It may go well another time, but not before `delay` has passed. Uses up one attempt.
    pub fn retry_after(reason: impl Display, delay: Duration) -> Self {
        Self(Verdict::Retry { reason: format!("{reason:#}"), delay: Some(delay) })
    }

    /// The job is no longer needed: it ends as cancelled, with this reason.
    pub fn cancel(reason: impl Display) -> Self {
        Self(Verdict::Cancel(format!("{reason:#}")))
    }

    /// The job can never succeed: it becomes a dead letter with this reason, which an operator can inspect and run again.
    pub fn dead_letter(reason: impl Display) -> Self {
        Self(Verdict::DeadLetter(format!("{reason:#}")))
    }

    /// Not a failure: come back after `delay`. No attempt is used up.
    pub fn snooze(delay: Duration) -> Self {
        Self(Verdict::Snooze(delay))
    }

    /// A service has refused a request because there were too many. No more jobs of the queue, or only of the job's group if it has
    /// one, start for `delay`, or for the host's limit if that is shorter (1 hour by default). No attempt is used up, and the job keeps
    /// its place. If the operator has not granted rate limits, only this job waits, and a line is logged. New in version 0.1.1 of the
    /// contract.
    pub fn rate_limited(delay: Duration) -> Self {
        Self(Verdict::RateLimited { delay, queue: false, say: Newer(host::set_rate_limited) })
    }

    /// As [`rate_limited`](Self::rate_limited), for the whole queue even if the job has a group. New in version 0.1.1 of the
    /// contract.
    pub fn rate_limited_queue(delay: Duration) -> Self {
        Self(Verdict::RateLimited { delay, queue: true, say: Newer(host::set_rate_limited_queue) })
    }
}

impl<E: Display> From<E> for Error {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

/// Another answer than "try again" for a call that fails.
///
/// ```
/// use millpond_guest::{OrElse, Result};
///
/// fn parse(text: String) -> Result<u64> {
///     Ok(text.parse().or_dead_letter()?)
/// }
/// # let _ = parse;
/// ```
pub trait OrElse<T> {
    /// If this fails, the job is no longer needed: see [`Error::cancel`].
    ///
    /// # Errors
    /// The same error, which ends the job as cancelled.
    fn or_cancel(self) -> Result<T>;

    /// If this fails, it will always fail: see [`Error::dead_letter`].
    ///
    /// # Errors
    /// The same error, which makes the job a dead letter.
    fn or_dead_letter(self) -> Result<T>;

    /// If it fails, try again, but not before `delay` has passed: see [`Error::retry_after`].
    ///
    /// # Errors
    /// The same error, as a retry with this delay.
    fn or_retry_after(self, delay: Duration) -> Result<T>;

    /// If it fails, that is no failure of the job: see [`Error::snooze`].
    ///
    /// # Errors
    /// A snooze.
    fn or_snooze(self, delay: Duration) -> Result<T>;
}

impl<T, E: Display> OrElse<T> for std::result::Result<T, E> {
    fn or_cancel(self) -> Result<T> {
        self.map_err(Error::cancel)
    }

    fn or_dead_letter(self) -> Result<T> {
        self.map_err(Error::dead_letter)
    }

    fn or_retry_after(self, delay: Duration) -> Result<T> {
        self.map_err(|error| Error::retry_after(error, delay))
    }

    fn or_snooze(self, delay: Duration) -> Result<T> {
        self.map_err(|_| Error::snooze(delay))
    }
}
