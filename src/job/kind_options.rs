//! The options that a kind has for all its jobs.

use std::time::Duration;

use super::priority::Priority;
use super::retry::Backoff;

/// The options that the jobs of a kind have unless they are given others: what [`Kind::options`](crate::Kind::options) returns.
///
/// They are applied when a job is made from the type, by [`NewJob::new`](crate::NewJob::new) or by passing the payload
/// itself, and stored with the job. Each option is taken from the first of these that sets it:
///
/// 1. the [`NewJob`](crate::NewJob);
/// 2. the kind;
/// 3. for attempts, back-off and timeout, the [worker](crate::WorkerBuilder) that runs the job;
/// 4. the default.
///
/// The number of attempts and `at_most_once` are one option: if the job sets either, the kind's do not apply.
///
/// A job that is made without the type, by [`NewJob::json`](crate::NewJob::json), [`NewJob::raw`](crate::NewJob::raw) or
/// by a plugin, does not have the options of the kind. A job that waits keeps the options that it was stored with, even
/// if the code changes. A replaced payload ([`JobPatch::payload`](crate::JobPatch::payload)) does not change them.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// #[derive(Serialize, Deserialize)]
/// struct Refund { order: u64 }
///
/// impl Kind for Refund {
///     const KIND: &'static str = "refund";
///
///     fn options() -> KindOptions {
///         KindOptions::new().priority(Priority::FIRST).max_attempts(8)
///     }
/// }
///
/// let refund = pond.enqueue("billing", Refund { order: 7 }).await?;
/// assert_eq!(pond.job(refund)?.max_attempts, Some(8));
///
/// let once = NewJob::new(Refund { order: 8 }).max_attempts(1);
/// let once = pond.enqueue("billing", once).await?;
/// assert_eq!((pond.job(once)?.max_attempts, pond.job(once)?.priority), (Some(1), Priority::FIRST));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct KindOptions {
    pub(super) priority: Option<Priority>,
    pub(super) max_attempts: Option<u32>,
    pub(super) at_most_once: bool,
    pub(super) backoff: Option<Backoff>,
    pub(super) timeout: Option<Duration>,
    pub(super) weight: Option<u32>,
    pub(super) expires_in: Option<Duration>,
}

impl KindOptions {
    /// No options: the defaults of the queue and its worker apply.
    pub const fn new() -> Self {
        Self {
            priority: None,
            max_attempts: None,
            at_most_once: false,
            backoff: None,
            timeout: None,
            weight: None,
            expires_in: None,
        }
    }

    /// Which of the ready jobs start first. See [`NewJob::priority`](crate::NewJob::priority).
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The number of attempts, the first one included. At least 1, or the job is refused when it is enqueued. See
    /// [`NewJob::max_attempts`](crate::NewJob::max_attempts).
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// The handler is called at most once for each job. See [`NewJob::at_most_once`](crate::NewJob::at_most_once).
    pub fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// How long a job waits between attempts. See [`NewJob::backoff`](crate::NewJob::backoff).
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// The longest time of one attempt. It must not be zero. See [`NewJob::timeout`](crate::NewJob::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many units of a limit a job uses; not 0. See [`NewJob::weight`](crate::NewJob::weight).
    pub fn weight(mut self, units: u32) -> Self {
        self.weight = Some(units);
        self
    }

    /// A job ends as cancelled if it has not started within this time after its enqueue. See
    /// [`NewJob::expires_in`](crate::NewJob::expires_in).
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.expires_in = Some(after);
        self
    }
}
