use std::time::Duration;

use bytes::Bytes;

use crate::error::BoxError;

/// What a handler answers: what is to become of the job.
///
/// A handler returns `Ok(())` for done, `Ok(Outcome::...)` for anything else, and any error by `?`
/// for a retry by the queue's back-off.
///
/// ```
/// use millpond::Outcome;
/// use std::time::Duration;
///
/// let later = Outcome::snooze(Duration::from_secs(30));
/// let never = Outcome::discard("the account was closed");
/// # let _ = (later, never);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Done. The result, if any, is kept with the completed job.
    Done(Option<Bytes>),
    /// Failed: run again after `delay`, or by the queue's back-off. Uses up an attempt.
    Retry {
        /// What went wrong.
        error: BoxError,
        /// Earliest next attempt; `None` is the back-off's choice.
        delay: Option<Duration>,
    },
    /// Not now: run again after this long. No attempt is used up.
    Snooze(Duration),
    /// The other side said "too many requests": nothing more of this queue (or, if the job has a
    /// group, of this group) starts for this long. No attempt is used up, no place lost.
    RateLimited(Duration),
    /// Stop: the job ends as cancelled, with this reason.
    Discard(String),
    /// Failed for good: straight to the dead letters, with this reason.
    DeadLetter(String),
}

impl Outcome {
    /// Done, with a result: bytes kept with the completed job for a day unless the queue's
    /// retention says otherwise.
    pub fn done_with(result: impl Into<Bytes>) -> Self {
        Self::Done(Some(result.into()))
    }

    /// Failed: run again by the queue's back-off.
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::Retry { error: error.into(), delay: None }
    }

    /// Failed: run again after `delay`.
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self::Retry { error: error.into(), delay: Some(delay) }
    }

    /// Not now: run again after `delay`, without using up an attempt.
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze(delay)
    }

    /// "Too many requests": hold the queue, or the job's group, for `delay`.
    pub fn rate_limited(delay: Duration) -> Self {
        Self::RateLimited(delay)
    }

    /// End as cancelled.
    pub fn discard(reason: impl Into<String>) -> Self {
        Self::Discard(reason.into())
    }

    /// Straight to the dead letters.
    pub fn dead_letter(reason: impl Into<String>) -> Self {
        Self::DeadLetter(reason.into())
    }
}

/// The error side of a handler: anything that `?` can turn into a boxed error, which is every
/// [`std::error::Error`] and `anyhow::Error`. It means: retry by the back-off.
///
/// It does not implement [`std::error::Error`] itself, because that is what lets `?` convert every
/// error into it.
#[derive(Debug)]
pub struct Failure(pub(crate) BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// What a handler returns: `Ok(())`, `Ok(Outcome::...)`, or an error by `?`.
pub type Handled<T = ()> = Result<T, Failure>;

/// What may stand in a handler's `Ok`: `()`, an [`Outcome`], or bytes to keep as the result.
pub trait IntoOutcome {
    /// Says what is to become of the job.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Done(None)
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl IntoOutcome for Bytes {
    fn into_outcome(self) -> Outcome {
        Outcome::Done(Some(self))
    }
}

impl<T: IntoOutcome> IntoOutcome for Handled<T> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(value) => value.into_outcome(),
            Err(Failure(error)) => Outcome::Retry { error, delay: None },
        }
    }
}
