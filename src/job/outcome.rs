//! What a handler returns: what becomes of its job, and the result that is kept with it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::attempt::FailureKind;
use super::payload::{Codec, Payload};
use crate::error::BoxError;

/// What a handler returns: what becomes of the job.
///
/// A handler returns `Ok(())` for done, `Ok(Outcome::...)` for anything else, and any error by `?`
/// for a retry by the queue's back-off.
///
/// ```
/// use millpond::Outcome;
/// use std::time::Duration;
///
/// let later = Outcome::snooze(Duration::from_secs(30));
/// let never = Outcome::cancel("the account was closed");
/// # let _ = (later, never);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Done. The result, if any, is kept with the completed job. One above
    /// [`Builder::result_bytes_max`](crate::Builder::result_bytes_max) fails the attempt.
    Done(Option<Bytes>),
    /// Failed: run again after `delay`, or by the queue's back-off. Uses up an attempt.
    #[non_exhaustive]
    Retry {
        /// What went wrong.
        error: BoxError,
        /// Earliest next attempt; `None` is the back-off's choice.
        delay: Option<Duration>,
    },
    /// Not now: run again after this long, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). No attempt is used up.
    Snooze(Duration),
    /// The other side said "too many requests": nothing more of this queue (or, if the job has a
    /// group, of this group) starts for this long, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). No attempt is used up, no
    /// place lost.
    RateLimited(Duration),
    /// As [`RateLimited`](Self::RateLimited), for the whole queue even if the job has a group.
    RateLimitedQueue(Duration),
    /// No longer needed: the job ends as cancelled, with this reason. Of a long reason 4 KiB are kept.
    Cancel(String),
    /// Failed for good: straight to the dead letters, with this reason. Of a long reason 4 KiB are kept.
    DeadLetter(String),
}

impl Outcome {
    /// Shortest delay of [`snooze`](Self::snooze) and [`rate_limited`](Self::rate_limited), 100 ms: a shorter one counts
    /// as this long. Neither uses up an attempt, so nothing else bounds how often a handler answers so, and
    /// each answer costs commits.
    pub const SNOOZE_MIN: Duration = Duration::from_millis(100);

    /// Done, without a result: the same as a handler's `Ok(())`.
    ///
    /// ```
    /// # use millpond::Outcome;
    /// assert!(matches!(Outcome::done(), Outcome::Done(None)));
    /// ```
    pub const fn done() -> Self {
        Self::Done(None)
    }

    /// Done, with a value as JSON as its result. [`JobInfo::result_json`](crate::JobInfo::result_json) reads it again.
    ///
    /// It is written as a payload is: a value that JSON would not give back as it was, such as a float that is NaN, is
    /// refused. [`done_with`](Self::done_with) says for how long a result is kept and how large it may be.
    ///
    /// # Errors
    /// A [`Failure`] with a [`PayloadError`](crate::PayloadError), or with what the value's own `Serialize` says. A handler
    /// that returns it has failed its attempt.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    /// struct Receipt { number: u32 }
    ///
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Outcome::done_json(&Receipt { number: 12 }) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result_json::<Receipt>()?, Some(Receipt { number: 12 }));
    /// # Ok(()) }
    /// ```
    pub fn done_json<T: Serialize + ?Sized>(result: &T) -> Handled<Self> {
        let (written, _) = Payload::written(Codec::Json, result).map_err(Failure)?;
        Ok(Self::Done(Some(written.bytes)))
    }

    /// Done, with bytes as its result. They are kept with the completed job for a day unless the queue's
    /// [retention](crate::Retention) says otherwise. They may be 1 MiB unless
    /// [`Builder::result_bytes_max`](crate::Builder::result_bytes_max) says otherwise; a larger result fails the attempt.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(Outcome::done_with("receipt 12")) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result.as_deref(), Some(&b"receipt 12"[..]));
    /// # Ok(()) }
    /// ```
    pub fn done_with(result: impl Into<Bytes>) -> Self {
        Self::Done(Some(result.into()))
    }

    /// Failed: run again by the queue's back-off.
    ///
    /// ```
    /// # use millpond::*;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// async fn charge(job: Job<Charge>) -> Handled<Outcome> {
    ///     match job.order {
    ///         0 => Ok(Outcome::retry("the order is not there yet")),
    ///         _ => Ok(Outcome::done()),
    ///     }
    /// }
    /// # let _ = |pond: Millpond| pond.worker("billing").handle(charge).start();
    /// ```
    pub fn retry(error: impl Into<BoxError>) -> Self {
        Self::Retry { error: error.into(), delay: None }
    }

    /// Failed: run again after `delay`. From its eleventh attempt on a job waits for at least
    /// [`Retry::WAIT_MIN`](crate::Retry::WAIT_MIN).
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::retry_after("503", Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(30)));
    /// assert_eq!(pond.job(id)?.attempts, 1);
    /// # Ok(()) }
    /// ```
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self::Retry { error: error.into(), delay: Some(delay) }
    }

    /// Not now: run again after `delay`, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN), without using up an attempt.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::snooze(Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.attempts, job.snoozes), (State::Scheduled, 0, 1));
    /// # Ok(()) }
    /// ```
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze(delay)
    }

    /// "Too many requests": hold the queue, or if the job has a group only that, for `delay`, at least
    /// [`SNOOZE_MIN`](Self::SNOOZE_MIN). See also [`rate_limited_queue`](Self::rate_limited_queue).
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("crm")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited(Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("crm", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::RateLimited { wait, .. } if wait == Duration::from_secs(30)));
    /// assert_eq!(pond.job(id)?.attempts, 0);
    /// # Ok(()) }
    /// ```
    pub fn rate_limited(delay: Duration) -> Self {
        Self::RateLimited(delay)
    }

    /// "Too many requests", for every job of the queue: hold the whole queue for `delay`, at least
    /// [`SNOOZE_MIN`](Self::SNOOZE_MIN), even if the job has a group.
    ///
    /// Use it where all groups share one provider's limit. With [`rate_limited`](Self::rate_limited) each group would
    /// make a request of its own to find out.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # use std::time::Duration;
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("crm")
    ///     .concurrency(1)
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited_queue(Duration::from_secs(30))) })
    ///     .start()?;
    /// pond.enqueue("crm", NewJob::new(Charge { order: 7 }).group("customer-1")).await?;
    /// let other = pond.enqueue("crm", NewJob::new(Charge { order: 8 }).group("customer-2")).await?;
    /// drain(&pond).await;
    /// let why = pond.explain(other)?;
    /// assert!(matches!(why, Explanation::RateLimited { wait, .. } if wait == Duration::from_secs(30)));
    /// # Ok(()) }
    /// ```
    pub fn rate_limited_queue(delay: Duration) -> Self {
        Self::RateLimitedQueue(delay)
    }

    /// The job is no longer needed: it ends as cancelled, with this reason.
    ///
    /// A job that can never succeed is a [`dead_letter`](Self::dead_letter) instead: somebody shall look at it.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::cancel("the order was withdrawn")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Cancelled);
    /// # Ok(()) }
    /// ```
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self::Cancel(reason.into())
    }

    /// The job can never succeed: it becomes a dead letter with this reason, without another attempt.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::dead_letter("card expired")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("card expired")));
    /// # Ok(()) }
    /// ```
    pub fn dead_letter(reason: impl Into<String>) -> Self {
        Self::DeadLetter(reason.into())
    }
}

/// An error whose kind of failure is known.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ClassedError {
    pub kind: FailureKind,
    pub message: String,
}

/// The error side of a handler: anything that `?` can turn into a boxed error, which is every
/// [`std::error::Error`] and `anyhow::Error`. It means: retry by the back-off.
///
/// It does not implement [`std::error::Error`] itself, because that is what lets `?` convert every
/// error into it.
///
/// ```
/// use millpond::{Failure, Handled, Job};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Import { path:String }
/// # impl millpond::Kind for Import { const KIND: &'static str = "import"; }
///
/// async fn import(job: Job<Import>) -> Handled {
///     let text = std::fs::read_to_string(&job.path)?;
///     let rows: u64 = text.trim().parse()?;
///     if rows == 0 {
///         return Err(Failure::from("the file is empty"));
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Failure(pub(crate) BoxError);

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// What a handler returns: `Ok(())`, `Ok(Outcome::...)`, or an error by `?`.
///
/// ```
/// use millpond::{Handled, Job, Outcome};
/// # use millpond::*;
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// async fn charge(job: Job<Charge>) -> Handled {
///     println!("order {}", job.order);
///     Ok(())
/// }
///
/// async fn refund(job: Job<Charge>) -> Handled<Outcome> {
///     if job.attempt() > 3 { return Ok(Outcome::dead_letter("refunds need a person")); }
///     Err("the bank is closed".into())
/// }
/// ```
pub type Handled<T = ()> = Result<T, Failure>;

/// What a handler's `Ok` may hold: `()`, an [`Outcome`], or a result to keep: bytes ([`Bytes`], `Vec<u8>`) or text
/// (`String`, `&'static str`, as its UTF-8 bytes). A value as JSON is [`Outcome::done_json`].
///
/// ```
/// # use millpond::*;
/// struct Receipt(u64);
///
/// impl IntoOutcome for Receipt {
///     fn into_outcome(self) -> Outcome {
///         Outcome::done_with(self.0.to_string())
///     }
/// }
///
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// async fn charge(job: Job<Charge>) -> Handled<Receipt> {
///     Ok(Receipt(job.order))
/// }
/// # let _ = |pond: Millpond| pond.worker("billing").handle(charge).start();
/// ```
pub trait IntoOutcome {
    /// What becomes of the job.
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

impl IntoOutcome for Vec<u8> {
    fn into_outcome(self) -> Outcome {
        Outcome::done_with(self)
    }
}

impl IntoOutcome for String {
    fn into_outcome(self) -> Outcome {
        Outcome::done_with(self)
    }
}

impl IntoOutcome for &'static str {
    fn into_outcome(self) -> Outcome {
        Outcome::done_with(self)
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
