//! Circuit breakers: their settings, which ends of attempts they count, and what the file keeps of an open circuit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::JobId;
use super::life::Ending;
use crate::error::Error;
use crate::time::Timestamp;

/// Holds a queue, or each of its groups, after too many failures:
/// [`WorkerBuilder::circuit_breaker`](crate::WorkerBuilder::circuit_breaker) and
/// [`WorkerBuilder::group_circuit_breaker`](crate::WorkerBuilder::group_circuit_breaker).
///
/// | state | what happens |
/// |---|---|
/// | closed | Jobs start. The breaker keeps how the last attempts ended: as many as its window has. When the share of failures in a full window would be reached, the circuit opens. |
/// | open | No job starts for a time. Jobs that run finish, and their ends do not count. |
/// | half open | The time is over. One job starts, the probe, and all others wait for its end. If it completes, the circuit is closed and its window empty. If it fails, the circuit is open again for the same time. |
///
/// An attempt counts as a failure if it failed and was used up: by an error, a panic, a timeout, a payload that could not be
/// decoded, or a failure of a plugin ([`FailureKind`](crate::FailureKind)). A completed job counts as a success. Nothing else
/// counts, neither for the window nor as the verdict of a probe: a job that was
/// [snoozed](crate::Outcome::snooze), [rate limited](crate::Outcome::rate_limited), cancelled, made a
/// [dead letter](crate::Outcome::dead_letter) by its handler, or given back by a stop, that failed after it was told to stop, or
/// whose process died. If a probe ends in such a way, the next job is the probe.
///
/// The circuit opens as soon as `share × of` failures are in the window, also if it is not full yet: with
/// `failures(0.5).of(20)`, ten failures open it, however few attempts ended between them. Windows are kept in memory and are
/// empty after a restart. That a circuit is open is durable: it is in the commit of the end that opened it, and the time goes
/// on while the process does not run.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::CircuitBreaker;
///
/// let breaker = CircuitBreaker::failures(0.5).of(20).open_for(Duration::from_secs(30));
/// assert_eq!(breaker, CircuitBreaker::failures(0.5)); // these are the defaults
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CircuitBreaker {
    /// The share of failures that opens the circuit: above 0, at most 1.
    pub share: f64,
    /// How many ends of attempts the window has.
    pub of: u32,
    /// How long the circuit is open before a probe starts.
    pub open_for: Duration,
}

impl CircuitBreaker {
    /// How many ends the window has unless [`of`](Self::of) is called: 20.
    pub const WINDOW_DEFAULT: u32 = 20;

    /// The most ends that a window can have: 1,000. A window takes a bit of memory for each, for each group that has failures.
    pub const WINDOW_MAX: u32 = 1_000;

    /// How long the circuit is open unless [`open_for`](Self::open_for) is called: 30 s.
    pub const OPEN_DEFAULT: Duration = Duration::from_secs(30);

    /// The shortest time for which a circuit can be open: 100 ms. Each time costs a probe and a commit.
    pub const OPEN_MIN: Duration = Duration::from_millis(100);

    /// The longest time for which a circuit can be open: 24 h. To hold a queue for longer, pause it.
    pub const OPEN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

    /// The circuit opens when this share of the attempts in the window has failed: above 0, at most 1. With 1, all of them.
    pub const fn failures(share: f64) -> Self {
        Self { share, of: Self::WINDOW_DEFAULT, open_for: Self::OPEN_DEFAULT }
    }

    /// How many ends of attempts the window has: 1 to [`WINDOW_MAX`](Self::WINDOW_MAX). Default:
    /// [`WINDOW_DEFAULT`](Self::WINDOW_DEFAULT).
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let five_in_a_row = CircuitBreaker::failures(1.0).of(5);
    /// # let _ = |pond: Millpond| pond.worker("crm").circuit_breaker(five_in_a_row).handle(|_: Job<Charge>| async { Ok(()) });
    /// ```
    pub const fn of(mut self, ends: u32) -> Self {
        self.of = ends;
        self
    }

    /// How long the circuit is open before a probe starts: [`OPEN_MIN`](Self::OPEN_MIN) to [`OPEN_MAX`](Self::OPEN_MAX).
    /// Default: [`OPEN_DEFAULT`](Self::OPEN_DEFAULT).
    pub const fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// How many failures in the window open the circuit.
    pub(crate) fn opens_at(&self) -> u32 {
        // A product such as 0.1 × 30 can be a little more than the number that is meant.
        let failures = (self.share * f64::from(self.of) - 1e-9).ceil();
        (failures as u32).clamp(1, self.of.max(1))
    }

    /// Checks the settings, which were given as `field`.
    pub(crate) fn check(&self, field: &'static str) -> Result<(), Error> {
        let Self { share, of, open_for } = *self;
        let refuse = |why: String| Err(Error::config(field, why));
        if !(share > 0.0 && share <= 1.0) {
            return refuse(format!("a share of {share}: give a share above 0 and at most 1, such as 0.5 for a half"));
        }
        if of == 0 {
            return refuse("a window of 0 ends never has a failure: the least is 1".to_owned());
        }
        if of > Self::WINDOW_MAX {
            return refuse(format!("a window of {of} ends: the most is {}", Self::WINDOW_MAX));
        }
        if open_for < Self::OPEN_MIN {
            return refuse(format!("open for {open_for:?}: the least is {:?}", Self::OPEN_MIN));
        }
        if open_for > Self::OPEN_MAX {
            return refuse(format!("open for {open_for:?}: the most is {:?}; pause the queue instead", Self::OPEN_MAX));
        }
        Ok(())
    }
}

/// The circuit of a queue or of a group: [`Queue::circuit`](crate::Queue::circuit). Its `Display` is a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Circuit {
    /// Jobs start.
    #[non_exhaustive]
    Closed {
        /// How many failures are in the window.
        failures: u32,
        /// How many ends are in the window.
        ends: u32,
    },
    /// No job starts.
    #[non_exhaustive]
    Open {
        /// For how long.
        wait: Duration,
    },
    /// One job starts, and all others wait for its end.
    #[non_exhaustive]
    HalfOpen {
        /// The job that runs as the probe. `None` if none has started yet.
        probe: Option<JobId>,
    },
}

impl std::fmt::Display for Circuit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { failures, ends } => write!(f, "closed: {failures} of the last {ends} attempts failed"),
            Self::Open { wait } => write!(f, "open for another {wait:?}"),
            Self::HalfOpen { probe: Some(probe) } => write!(f, "half open: job {probe} is the probe"),
            Self::HalfOpen { probe: None } => f.write_str("half open: the next job is the probe"),
        }
    }
}

/// How the end of an attempt counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Failure,
    /// It counted as a success, and the writes with its completion failed.
    FailureAfterAll,
}

impl Verdict {
    /// How an attempt counts that ended in this way. `None`: not at all.
    pub fn of(ending: &Ending) -> Option<Self> {
        match ending {
            Ending::Done(_) => Some(Self::Success),
            Ending::Failed { .. } | Ending::Undecodable(_) => Some(Self::Failure),
            Ending::Snoozed(_)
            | Ending::Suspended(_)
            | Ending::RateLimited { .. }
            | Ending::Cancelled(_)
            | Ending::DeadLetter(_)
            | Ending::Undone
            | Ending::Released
            | Ending::Uncalled
            | Ending::Expired => None,
        }
    }
}

/// An open circuit as it is stored. It is half open after `until`, which is on the age line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CircuitRow {
    pub until: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::FailureKind;

    #[test]
    fn the_number_of_failures_is_the_share_of_the_window_rounded_up() {
        let opens_at = |share, of| CircuitBreaker::failures(share).of(of).opens_at();
        assert_eq!(opens_at(0.5, 20), 10);
        assert_eq!(opens_at(0.1, 30), 3, "not 4 by an error of rounding");
        assert_eq!(opens_at(0.5, 5), 3);
        assert_eq!(opens_at(1.0, 1_000), 1_000);
        assert_eq!(opens_at(1e-12, 7), 1);
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let ok = CircuitBreaker::failures(0.5);
        assert!(ok.check("circuit_breaker").is_ok());
        assert!(CircuitBreaker::failures(1.0).of(1).open_for(CircuitBreaker::OPEN_MIN).check("x").is_ok());
        assert!(ok.of(CircuitBreaker::WINDOW_MAX).open_for(CircuitBreaker::OPEN_MAX).check("x").is_ok());
        for (breaker, says) in [
            (CircuitBreaker::failures(0.0), "above 0"),
            (CircuitBreaker::failures(-1.0), "above 0"),
            (CircuitBreaker::failures(1.01), "at most 1"),
            (CircuitBreaker::failures(f64::NAN), "above 0"),
            (ok.of(0), "the least is 1"),
            (ok.of(1_001), "the most is 1000"),
            (ok.open_for(Duration::from_millis(99)), "the least is 100ms"),
            (ok.open_for(Duration::from_secs(86_401)), "pause the queue"),
        ] {
            let error = breaker.check("circuit_breaker").unwrap_err();
            assert!(matches!(error, Error::InvalidConfig { field: "circuit_breaker", .. }));
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn only_ends_that_use_up_an_attempt_or_complete_a_job_count() {
        let failed = |kind| Ending::Failed { kind, message: String::new(), delay: None };
        for kind in [FailureKind::Error, FailureKind::Panic, FailureKind::Timeout, FailureKind::OutputTooLarge] {
            assert_eq!(Verdict::of(&failed(kind)), Some(Verdict::Failure));
        }
        assert_eq!(Verdict::of(&Ending::Undecodable(String::new())), Some(Verdict::Failure));
        assert_eq!(Verdict::of(&Ending::Done(None)), Some(Verdict::Success));
        for none in [
            Ending::snoozed(Duration::ZERO),
            Ending::rate_limited(Duration::ZERO, true),
            Ending::Cancelled(String::new()),
            Ending::DeadLetter(String::new()),
            Ending::Released,
            Ending::Uncalled,
            Ending::Expired,
        ] {
            assert_eq!(Verdict::of(&none), None, "{none:?}");
        }
    }
}
