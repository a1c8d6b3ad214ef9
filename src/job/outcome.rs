//! What a handler returns: what happens to its job, and the result that is kept with it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::attempt::FailureKind;
use super::codec::Codec;
use super::kind_traits::HasOutput;
use super::payload::Payload;
use crate::error::BoxError;

/// What a handler returns: what happens to the job.
///
/// A handler returns `Ok(())` if the job is done, and `Ok(Outcome::...)` for anything else. An error that it returns by `?`
/// is a failed attempt, and the job is retried by the back-off.
///
/// ```
/// use millpond::Outcome;
/// use std::time::Duration;
///
/// let later = Outcome::snooze(Duration::from_secs(30));
/// let never = Outcome::cancel("the account was closed");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The job is done. The result, if any, is kept with the completed job. A result above
    /// [`Builder::result_bytes_max`](crate::Builder::result_bytes_max) fails the attempt.
    Done(Option<Bytes>),
    /// The attempt failed. The job runs again after `delay`, or by the back-off. This uses up an attempt.
    #[non_exhaustive]
    Retry {
        /// What went wrong.
        error: BoxError,
        /// How long to wait for the next attempt at least. With `None`, the back-off decides.
        delay: Option<Duration>,
    },
    /// The job runs again after this time, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). No attempt is used up.
    Snooze(Duration),
    /// A service has refused a request because there were too many. No more jobs of this queue, or of the job's group if it
    /// has one, start for this time, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). No attempt is used up, and the job keeps its
    /// place.
    RateLimited(Duration),
    /// As [`RateLimited`](Self::RateLimited), for the whole queue even if the job has a group.
    RateLimitedQueue(Duration),
    /// The job is no longer needed: it ends as cancelled, with this reason. Of a long reason 4 KiB are kept.
    Cancel(String),
    /// The job can never succeed: it becomes a dead letter at once, with this reason. Of a long reason 4 KiB are kept.
    DeadLetter(String),
}

impl Outcome {
    /// Shortest delay of [`snooze`](Self::snooze) and [`rate_limited`](Self::rate_limited), 100 ms: a shorter one
    /// is raised to this. Neither uses up an attempt, so nothing else limits how often a handler returns them, and each costs
    /// commits.
    pub const SNOOZE_MIN: Duration = Duration::from_millis(100);

    /// The job is done, without a result. This is the same as `Ok(())`.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// assert!(matches!(Outcome::done(), Outcome::Done(None)));
    /// ```
    pub const fn done() -> Self {
        Self::Done(None)
    }

    /// The job is done, with a value as JSON as its result. [`JobInfo::result_json`](crate::JobInfo::result_json) reads it.
    ///
    /// It is encoded like a payload: a value that would be a different one after decoding, such as a float that is NaN, is
    /// refused. [`done_with`](Self::done_with) says for how long a result is kept and how large it may be.
    ///
    /// # Errors
    /// A [`Failure`] with a [`PayloadError`](crate::PayloadError), or with the error of the value's `Serialize`. If the
    /// handler returns it, the attempt fails.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    /// struct Receipt { number: u32 }
    ///
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Outcome::done_json(&Receipt { number: 12 }) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result_json::<Receipt>()?, Some(Receipt { number: 12 }));
    /// # Ok(()) });
    /// ```
    pub fn done_json<T: Serialize + ?Sized>(result: &T) -> Handled<Self> {
        let (written, _) = Payload::written(Codec::Json, result).map_err(Failure)?;
        Ok(Self::Done(Some(written.bytes)))
    }

    /// The job is done, with the result of its kind, written as JSON. [`JobInfo::output`](crate::JobInfo::output) reads it.
    /// Everything else is as for [`done_json`](Self::done_json).
    ///
    /// # Errors
    /// As [`done_json`](Self::done_json).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// #[derive(Serialize, Deserialize, Kind)]
    /// #[kind(output = u32)]
    /// struct Count { files: Vec<String> }
    ///
    /// async fn count(job: Job<Count>) -> Handled<Outcome> {
    ///     Outcome::done_as::<Count>(&(job.files.len() as u32))
    /// }
    /// # let _ = |pond: Millpond| pond.worker("imports").handle(count).start();
    /// ```
    pub fn done_as<K: HasOutput>(output: &K::Output) -> Handled<Self> {
        Self::done_json(output)
    }

    /// The job is done, with bytes as its result. They are kept with the completed job for a day unless the queue's
    /// [retention](crate::Retention) says otherwise. A result above
    /// [`Builder::result_bytes_max`](crate::Builder::result_bytes_max), by default 1 MiB, fails the attempt.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").handle(|_: Job<Charge>| async { Ok(Outcome::done_with("receipt 12")) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result.as_deref(), Some(&b"receipt 12"[..]));
    /// # Ok(()) });
    /// ```
    pub fn done_with(result: impl Into<Bytes>) -> Self {
        Self::Done(Some(result.into()))
    }

    /// The attempt failed. The job runs again by the back-off.
    ///
    /// ```
    /// # use doc_prelude::*;
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

    /// The attempt failed. The job runs again after `delay`. From its eleventh attempt on a job waits for at least
    /// [`Retry::WAIT_MIN`](crate::Retry::WAIT_MIN).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::retry_after("503", Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(30)));
    /// assert_eq!(pond.job(id)?.attempts, 1);
    /// # Ok(()) });
    /// ```
    pub fn retry_after(error: impl Into<BoxError>, delay: Duration) -> Self {
        Self::Retry { error: error.into(), delay: Some(delay) }
    }

    /// The job runs again after `delay`, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). This uses up no attempt.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::snooze(Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.attempts, job.snoozes), (State::Scheduled, 0, 1));
    /// # Ok(()) });
    /// ```
    pub fn snooze(delay: Duration) -> Self {
        Self::Snooze(delay)
    }

    /// A service has refused a request because there were too many. The queue, or only the group if the job has one, starts
    /// no jobs for `delay`, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN). See also [`rate_limited_queue`](Self::rate_limited_queue).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("crm")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited(Duration::from_secs(30))) })
    ///     .start()?;
    /// let id = pond.enqueue("crm", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::RateLimited { wait, .. } if wait == Duration::from_secs(30)));
    /// assert_eq!(pond.job(id)?.attempts, 0);
    /// # Ok(()) });
    /// ```
    pub fn rate_limited(delay: Duration) -> Self {
        Self::RateLimited(delay)
    }

    /// A service has refused a request because there were too many, and this concerns every job of the queue. The whole
    /// queue starts no jobs for `delay`, at least [`SNOOZE_MIN`](Self::SNOOZE_MIN), even if the job has a group.
    ///
    /// Use it where all groups share one provider's limit. With [`rate_limited`](Self::rate_limited) each group would
    /// make a request of its own to find out.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("crm")
    ///     .concurrency(1)
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::rate_limited_queue(Duration::from_secs(30))) })
    ///     .start()?;
    /// pond.enqueue("crm", NewJob::new(Charge { order: 7 }).group("customer-1")).await?;
    /// let other = pond.enqueue("crm", NewJob::new(Charge { order: 8 }).group("customer-2")).await?;
    /// drain(&pond).await;
    /// let why = pond.explain(other)?;
    /// assert!(matches!(why, Explanation::RateLimited { wait, .. } if wait == Duration::from_secs(30)));
    /// # Ok(()) });
    /// ```
    pub fn rate_limited_queue(delay: Duration) -> Self {
        Self::RateLimitedQueue(delay)
    }

    /// The job is no longer needed: it ends as cancelled, with this reason.
    ///
    /// A job that can never succeed should be a [`dead_letter`](Self::dead_letter) instead, so that an operator sees it.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::cancel("the order was withdrawn")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.state, State::Cancelled);
    /// # Ok(()) });
    /// ```
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self::Cancel(reason.into())
    }

    /// The job can never succeed: it becomes a dead letter with this reason, without another attempt.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .handle(|_: Job<Charge>| async { Ok(Outcome::dead_letter("card expired")) })
    ///     .start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// let job = pond.job(id)?;
    /// assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("card expired")));
    /// # Ok(()) });
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
/// [`std::error::Error`] and `anyhow::Error`. It fails the attempt, and the job is retried by the back-off.
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
/// # use doc_prelude::*;
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
/// # use doc_prelude::*;
/// struct Receipt(u64);
///
/// impl IntoOutcome for Receipt {
///     fn into_outcome(self) -> Outcome {
///         Outcome::done_with(self.0.to_string())
///     }
/// }
///
/// async fn charge(job: Job<Charge>) -> Handled<Receipt> {
///     Ok(Receipt(job.order))
/// }
/// # let _ = |pond: Millpond| pond.worker("billing").handle(charge).start();
/// ```
pub trait IntoOutcome {
    /// Converts the value into what happens to the job.
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
