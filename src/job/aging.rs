//! The rule by which a job that waits becomes more urgent.

use std::time::Duration;

use crate::error::Error;

/// Makes a job that waits more urgent: by one [priority](crate::Priority) for each period, up to
/// [`Priority::FIRST`](crate::Priority::FIRST). For [`WorkerBuilder::aging`](crate::WorkerBuilder::aging).
///
/// A job of priority 9 that has waited for two periods starts as if its priority were 7. Nothing is written for that: the
/// priority of the job itself does not change.
///
/// ```
/// use millpond::Aging;
/// use std::time::Duration;
///
/// let aging = Aging::every(Duration::from_secs(60));
/// assert_eq!(aging.period(), Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aging {
    period: Duration,
}

impl Aging {
    /// The shortest period: one second.
    pub const PERIOD_MIN: Duration = Duration::from_secs(1);

    /// One priority for each `period`, which is at least [`PERIOD_MIN`](Self::PERIOD_MIN): a worker with a shorter one does
    /// not start.
    pub const fn every(period: Duration) -> Self {
        Self { period }
    }

    /// How long a job waits until it counts as one priority more urgent.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The priority as which a job counts after it has waited for this long.
    pub(crate) fn raised(self, priority: u8, waited: Duration) -> u8 {
        let periods = waited.as_nanos() / self.period.as_nanos().max(1);
        priority.saturating_sub(u8::try_from(periods).unwrap_or(u8::MAX))
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.period < Self::PERIOD_MIN {
            let reason = format!("the period {:?} is too short: the shortest is {:?}", self.period, Self::PERIOD_MIN);
            return Err(Error::config("aging", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_raised_by_one_priority_for_each_whole_period_up_to_the_first() {
        let aging = Aging::every(Duration::from_secs(10));
        let raised = |priority, secs| aging.raised(priority, Duration::from_secs(secs));
        assert_eq!([0, 9, 10, 19, 20, 50, 1_000].map(|secs| raised(5, secs)), [5, 5, 4, 4, 3, 0, 0]);
        assert_eq!((raised(0, 100), aging.raised(9, Duration::MAX)), (0, 0));
        assert_eq!(
            Aging::every(Duration::ZERO).raised(9, Duration::from_secs(1)),
            0,
            "it is refused, and does no harm"
        );
    }

    #[test]
    fn a_period_below_the_shortest_is_refused() {
        assert!(Aging::every(Aging::PERIOD_MIN).check().is_ok() && Aging::every(Duration::MAX).check().is_ok());
        let short = Aging::every(Aging::PERIOD_MIN - Duration::from_nanos(1));
        assert!(matches!(short.check(), Err(Error::InvalidConfig { field: "aging", .. })));
    }
}
