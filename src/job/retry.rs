//! The retry policy: how many attempts a job has, and how long it waits between them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failed_attempt::FailedAttempt;
use crate::error::Error;
use crate::error::panics::{Quiet, catch};
use crate::sync::MustNotWait;

/// The default number of attempts, the first one included.
pub(crate) const MAX_ATTEMPTS_DEFAULT: u32 = 5;

/// The default wait after the first attempt.
const BASE_DEFAULT: Duration = Duration::from_secs(2);

/// The default of the longest wait between attempts.
const CAP_DEFAULT: Duration = Duration::from_secs(3600);

/// The default share of the delay that is random: 0.2 means between 80 % and 120 % of the delay.
const JITTER_DEFAULT: f64 = 0.2;

/// How long to wait after a failed attempt. This part of a policy can be stored with a job.
///
/// ```
/// use millpond::{Backoff, NewJob};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let doubling = Backoff::Exponential { base: minute, cap: 60 * minute };
/// let listed = Backoff::List(vec![minute, 5 * minute, 30 * minute]);
/// let job = NewJob::json("charge", &7).backoff(listed).max_attempts(4);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Backoff {
    /// `base × 2^(attempt - 1)`, at most `cap`.
    Exponential {
        /// The wait after the first attempt.
        base: Duration,
        /// The longest wait.
        cap: Duration,
    },
    /// Always the same wait.
    Fixed(Duration),
    /// The n-th wait after the n-th attempt, and the last one after all later attempts.
    List(Vec<Duration>),
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

impl Backoff {
    const DEFAULT: Self = Self::Exponential { base: BASE_DEFAULT, cap: CAP_DEFAULT };

    fn delay(&self, attempt: u32) -> Duration {
        match self {
            Self::Exponential { base, cap } => {
                // 2^63 of any base is past every cap; a larger exponent would only overflow.
                let doublings = attempt.saturating_sub(1).min(63);
                let nanos = base.as_nanos().saturating_mul(1u128 << doublings);
                let longest = cap.as_nanos();
                let (seconds, rest) = (nanos / NANOS_PER_SECOND, nanos % NANOS_PER_SECOND);
                // Less than `cap`, so it fits.
                if nanos >= longest { *cap } else { Duration::new(seconds as u64, rest as u32) }
            }
            Self::Fixed(delay) => *delay,
            Self::List(delays) => {
                let last = delays.len().saturating_sub(1);
                delays.get((attempt.saturating_sub(1) as usize).min(last)).copied().unwrap_or_default()
            }
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match self {
            Self::List(delays) if delays.is_empty() => {
                Err(Error::config("backoff", "the list of delays is empty".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

type Decide = Arc<Quiet<Box<dyn Fn(&FailedAttempt<'_>) -> Option<Duration> + Send + Sync>>>;

#[derive(Clone)]
enum Policy {
    Stored(Backoff),
    Decide(Decide),
}

/// How often a job is tried, and how long it waits between attempts.
///
/// The default: 5 attempts in all, `2 s × 2^(attempt - 1)` capped at an hour, ±20 % jitter.
///
/// ```
/// use millpond::Retry;
/// use std::time::Duration;
///
/// let patient = Retry::exponential(Duration::from_secs(2)).cap(Duration::from_secs(600)).max_attempts(8);
/// let strict = Retry::none();
/// let listed = Retry::list([Duration::from_secs(1), Duration::from_secs(60)]);
/// let custom = Retry::custom(|attempt| Duration::from_secs(u64::from(attempt).pow(4)));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Retry {
    policy: Policy,
    /// The number of attempts, the first one included.
    pub max_attempts: u32,
    /// How much of the wait is random, from 0 to 1.
    pub jitter: f64,
    /// How old a job may be, to be tried again. `None`: any age.
    pub within: Option<Duration>,
    /// Whether attempts are counted from the last step that a handler has stored.
    pub from_last_step: bool,
}

impl Retry {
    /// How many retries of a job can follow at once, if the back-off or the handler says so: 10. Later retries wait for [`WAIT_MIN`](Self::WAIT_MIN) at least, so that a job with very many attempts does not keep the
    /// disk busy: each retry costs two commits.
    pub const AT_ONCE_MAX: u32 = 10;

    /// Shortest wait before a retry, after the first [`AT_ONCE_MAX`](Self::AT_ONCE_MAX) of a job: 100 ms.
    pub const WAIT_MIN: Duration = Duration::from_millis(100);

    /// The shortest wait after this attempt has failed.
    pub(crate) fn wait_min(attempt: u32) -> Duration {
        if attempt > Self::AT_ONCE_MAX { Self::WAIT_MIN } else { Duration::ZERO }
    }

    /// The wait doubles from `base` on, and is capped at an hour unless [`cap`](Self::cap) says otherwise.
    pub fn exponential(base: Duration) -> Self {
        Self::stored(Backoff::Exponential { base, cap: CAP_DEFAULT })
    }

    /// The wait is always the same. With zero, the job is retried at once, but at most
    /// [`AT_ONCE_MAX`](Self::AT_ONCE_MAX) times.
    pub fn fixed(delay: Duration) -> Self {
        Self::stored(Backoff::Fixed(delay))
    }

    /// The n-th wait follows the n-th attempt, and the last one all later attempts. This also sets the number of attempts to
    /// the length of the list plus one.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing")
    ///     .retry(Retry::list([Duration::from_secs(1), Duration::from_secs(60)]))
    ///     .handle(|job: Job<Charge>| async move {
    ///         assert_eq!(job.max_attempts(), 3);
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// # pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # assert_eq!(pond.metrics().failed_total, 0);
    /// # Ok(()) });
    /// ```
    pub fn list(delays: impl IntoIterator<Item = Duration>) -> Self {
        let delays: Vec<_> = delays.into_iter().collect();
        let attempts = u32::try_from(delays.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self::stored(Backoff::List(delays)).max_attempts(attempts)
    }

    /// `delay` returns the wait, given the number of the attempt that failed (from 1). The [`jitter`](Self::jitter) is added
    /// to it. If `delay` panics, the default back-off is used. It can run on the queue's own thread, for which all callers
    /// wait: calls in it that wait for the queue fail with [`Error::WouldDeadlock`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let retry = Retry::custom(|attempt| Duration::from_secs(u64::from(attempt).pow(4) + 15)).jitter(0.0);
    /// pond.worker("billing").retry(retry).handle(|_: Job<Charge>| async { Err::<(), _>("503".into()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(16)));
    /// # Ok(()) });
    /// ```
    pub fn custom(delay: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self::decide(move |failed| Some(delay(failed.attempt())))
    }

    /// `decide` looks at the failed attempt and returns the wait, or `None` if there is nothing to be gained by another
    /// attempt: the job is dead then. The [`jitter`](Self::jitter) is added to the wait. It is not asked after the last
    /// attempt, if the handler has said how long to wait, or if the job has a back-off of its own. The rules of
    /// [`custom`](Self::custom) for the function apply.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let retry = Retry::decide(|failed| match failed.error().contains("declined") {
    ///     true => None,
    ///     false => Some(Duration::from_secs(10) * failed.attempt()),
    /// });
    /// pond.worker("billing").retry(retry).handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert_eq!((pond.job(id)?.state, pond.job(id)?.attempts), (State::Dead, 1));
    /// # Ok(()) });
    /// ```
    pub fn decide(decide: impl Fn(&FailedAttempt<'_>) -> Option<Duration> + Send + Sync + 'static) -> Self {
        Self { policy: Policy::Decide(Arc::new(Quiet::new(Box::new(decide)))), ..Self::default() }
    }

    /// There is only one attempt: the first failure is final.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let strict = Retry::none();
    /// ```
    pub fn none() -> Self {
        Self::default().max_attempts(1)
    }

    fn stored(backoff: Backoff) -> Self {
        let (max_attempts, jitter) = (MAX_ATTEMPTS_DEFAULT, JITTER_DEFAULT);
        Self { policy: Policy::Stored(backoff), max_attempts, jitter, within: None, from_last_step: false }
    }

    /// The number of attempts, the first one included. At least 1, by default 5.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// A job whose attempt fails when it is older than this is dead, whatever attempts it has left. Its age counts from its
    /// enqueue, by the wall clock. By default a job may have any age. The number of attempts holds too: raise it if only
    /// the age is to count.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let minute = Duration::from_secs(60);
    /// let retry = Retry::fixed(minute).within(minute * 5).max_attempts(1_000).jitter(0.0);
    /// pond.worker("billing").retry(retry).handle(|_: Job<Charge>| async { Err::<(), _>("503".into()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// while pond.job(id)?.state != State::Dead {
    ///     drain(&pond).await;
    ///     clock.advance(minute);
    /// }
    /// assert_eq!(pond.job(id)?.attempts, 7); // the last one after six minutes
    /// # Ok(()) });
    /// ```
    pub fn within(mut self, age: Duration) -> Self {
        self.within = Some(age);
        self
    }

    /// Counts attempts from the last [step](crate::Context::step) that the handler has stored: an attempt that has stored a step and
    /// then fails is the first one again, also for the back-off. So a job of many steps has all its attempts for each of them. Sleeps
    /// and waits do not count as steps. An attempt that ends with the process is counted as otherwise. Not so by default.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// # let failures = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    /// # let fails = failures.clone();
    /// # let unreliable = move || std::future::ready(match fails.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 {
    /// #     0 => Err("503"),
    /// #     _ => Ok(()),
    /// # });
    /// let retry = Retry::fixed(Duration::from_secs(1)).max_attempts(2).from_last_step();
    /// pond.worker("billing")
    ///     .retry(retry)
    ///     .handle(move |_: Job<Charge>, ctx: Context| {
    ///         let unreliable = unreliable.clone(); // fails every second time
    ///         async move {
    ///             for _ in 0..3 {
    ///                 ctx.step("call", &unreliable).await?;
    ///             }
    ///             Ok(())
    ///         }
    ///     })
    ///     .start()?;
    /// pond.enqueue("billing", Charge { order: 7 }).await?;
    /// for _ in 0..4 {
    ///     drain(&pond).await;
    ///     clock.advance(Duration::from_secs(2));
    /// }
    /// assert_eq!(pond.queue("billing")?.counts().completed_total, 1); // in the fourth attempt
    /// # Ok(()) });
    /// ```
    pub fn from_last_step(mut self) -> Self {
        self.from_last_step = true;
        self
    }

    /// The longest wait of an exponential back-off, by default one hour. Other back-offs ignore it.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let retry = Retry::exponential(Duration::from_secs(2)).cap(Duration::from_secs(600));
    /// ```
    pub fn cap(mut self, longest: Duration) -> Self {
        if let Policy::Stored(Backoff::Exponential { cap, .. }) = &mut self.policy {
            *cap = longest;
        }
        self
    }

    /// How much of the wait is random, from 0 (none) to 1 (the wait is between zero and twice as long). By default 0.2.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let exact = Retry::fixed(Duration::from_secs(5)).jitter(0.0);
    /// pond.worker("billing").retry(exact).handle(|_: Job<Charge>| async { Err::<(), _>("503".into()) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// drain(&pond).await;
    /// assert!(matches!(pond.explain(id)?, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(5)));
    /// # Ok(()) });
    /// ```
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// How long a job waits between attempts. `None` if a [function](Self::custom) decides it.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let retry = Retry::fixed(Duration::from_secs(5)).max_attempts(3);
    /// assert_eq!(retry.backoff(), Some(&Backoff::Fixed(Duration::from_secs(5))));
    /// assert_eq!((retry.max_attempts, retry.jitter), (3, 0.2));
    /// ```
    pub fn backoff(&self) -> Option<&Backoff> {
        match &self.policy {
            Policy::Stored(backoff) => Some(backoff),
            Policy::Decide(_) => None,
        }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Whether a job of this age may be tried again.
    pub(crate) fn allows_age(&self, age: Duration) -> bool {
        self.within.is_none_or(|within| age <= within)
    }

    /// The wait after this attempt. `None` if the policy allows no other attempt. `random` is a random number from 0 up to 1.
    pub(crate) fn delay(&self, own: Option<&Backoff>, failed: &FailedAttempt<'_>, random: f64) -> Option<Duration> {
        let plain = match (own, &self.policy) {
            (Some(backoff), _) | (None, Policy::Stored(backoff)) => backoff.delay(failed.attempt),
            // A panic must end neither the thread nor the job. The thread can be the writer's, for which all callers wait.
            (None, Policy::Decide(decide)) => {
                let _must_not_wait = MustNotWait::begin();
                catch(|| decide(failed)).unwrap_or_else(|_| Some(Backoff::DEFAULT.delay(failed.attempt)))?
            }
        };
        let factor = 1.0 + self.jitter * (2.0 * random - 1.0);
        Some(Duration::try_from_secs_f64(plain.as_secs_f64() * factor).unwrap_or(Duration::MAX))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_attempts == 0 {
            return Err(Error::config("max_attempts", "0 attempts would never run a job: the least is 1".into()));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::config("jitter", format!("{} is not from 0 to 1", self.jitter)));
        }
        match &self.policy {
            Policy::Stored(backoff) => backoff.check(),
            Policy::Decide(_) => Ok(()),
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::exponential(BASE_DEFAULT)
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy: &dyn fmt::Debug = match &self.policy {
            Policy::Stored(backoff) => backoff,
            Policy::Decide(_) => &"a function",
        };
        f.debug_struct("Retry")
            .field("policy", policy)
            .field("max_attempts", &self.max_attempts)
            .field("jitter", &self.jitter)
            .field("within", &self.within)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::FailureKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(attempt: u32) -> FailedAttempt<'static> {
        let (kind, error, age) = (FailureKind::Error, "503", SECOND * attempt.min(100));
        FailedAttempt { attempt, max_attempts: 5, kind, error, age }
    }

    fn delay(retry: &Retry, attempt: u32, random: f64) -> Duration {
        retry.delay(None, &failed(attempt), random).expect("another attempt")
    }

    #[test]
    fn exponential_doubles_and_is_capped_at_any_attempt() {
        let retry = Retry::exponential(SECOND).cap(SECOND * 60).jitter(0.0);
        assert_eq!(delay(&retry, 1, 0.5), SECOND);
        assert_eq!(delay(&retry, 4, 0.5), SECOND * 8);
        assert_eq!(delay(&retry, 310, 0.5), SECOND * 60);
        assert_eq!(delay(&retry, u32::MAX, 0.5), SECOND * 60);
        let endless = Retry::exponential(Duration::MAX).cap(Duration::MAX).jitter(1.0);
        assert_eq!(delay(&endless, u32::MAX, 0.999), Duration::MAX);
    }

    #[test]
    fn a_list_repeats_its_last_delay_and_sets_the_attempts() {
        let retry = Retry::list([SECOND, SECOND * 5]).jitter(0.0);
        assert_eq!(retry.attempts(), 3);
        assert_eq!(delay(&retry, 2, 0.0), SECOND * 5);
        assert_eq!(delay(&retry, 9, 0.0), SECOND * 5);
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let retry = Retry::fixed(SECOND * 10).jitter(0.2);
        assert_eq!(delay(&retry, 1, 0.0), SECOND * 8);
        assert_eq!(delay(&retry, 1, 0.5), SECOND * 10);
        assert!(delay(&retry, 1, 0.999) < SECOND * 12);
    }

    #[test]
    fn a_jobs_own_backoff_wins_over_the_workers() {
        let retry = Retry::custom(|_| SECOND).jitter(0.0);
        assert_eq!(retry.delay(Some(&Backoff::Fixed(SECOND * 3)), &failed(1), 0.0), Some(SECOND * 3));
        assert_eq!(delay(&retry, 1, 0.0), SECOND);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (bad, field) in [
            (Retry::default().max_attempts(0), "max_attempts"),
            (Retry::default().jitter(f64::NAN), "jitter"),
            (Retry::default().jitter(f64::INFINITY), "jitter"),
            (Retry::list([]), "backoff"),
        ] {
            match bad.check() {
                Err(Error::InvalidConfig { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{other:?}"),
            }
        }
    }
}
