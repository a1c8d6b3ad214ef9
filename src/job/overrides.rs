//! What an operator has set in place of the limits that a worker's code says.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::circuit_breaker::CircuitBreaker;
use super::rate::Rate;
use super::record::KindId;
use crate::error::Error;

/// Limits of a queue that an operator has set. They hold in place of the limits that the code of the queue's worker says,
/// are durable, and apply to each worker that the queue has. See [`Queue::set_overrides`](crate::Queue::set_overrides).
///
/// ```
/// use millpond::{Overrides, Rate, RateOverride};
///
/// let overrides = Overrides::new().concurrency(2).rate(Rate::per_second(5)).no_group_rate();
/// assert_eq!(overrides.group_rate, Some(RateOverride::Unlimited));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use]
#[non_exhaustive]
pub struct Overrides {
    /// How many of the queue's jobs run at the same time; `None`: as many as the worker says.
    pub concurrency: Option<u32>,
    /// How many of the queue's jobs start per period of time; `None`: as the worker says.
    pub rate: Option<RateOverride>,
    /// How many jobs of each group start per period of time; `None`: as the worker says.
    pub group_rate: Option<RateOverride>,
}

/// A rate that an operator has set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RateOverride {
    /// There is no limit, whatever the worker says.
    Unlimited,
    /// This rate, whatever the worker says.
    Limited(Rate),
}

impl RateOverride {
    fn rate(self) -> Option<Rate> {
        match self {
            Self::Unlimited => None,
            Self::Limited(rate) => Some(rate),
        }
    }
}

impl Overrides {
    /// None: what the worker says holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many of the queue's jobs run at the same time; at least 1.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.concurrency = Some(jobs);
        self
    }

    /// How many of the queue's jobs start per period of time.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(RateOverride::Limited(rate));
        self
    }

    /// The queue has no rate.
    pub fn no_rate(mut self) -> Self {
        self.rate = Some(RateOverride::Unlimited);
        self
    }

    /// How many jobs of each group start per period of time.
    pub fn group_rate(mut self, rate: Rate) -> Self {
        self.group_rate = Some(RateOverride::Limited(rate));
        self
    }

    /// The queue's groups have no rate.
    pub fn no_group_rate(mut self) -> Self {
        self.group_rate = Some(RateOverride::Unlimited);
        self
    }

    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many of the queue's jobs run at the same time, if its worker says `own`.
    pub(crate) fn slots(&self, own: usize) -> usize {
        self.concurrency.map_or(own, |jobs| jobs as usize)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.concurrency == Some(0) {
            let reason = "0 slots would never run a job: pause the queue instead".to_owned();
            return Err(Error::config("concurrency", reason));
        }
        let rates = [self.rate, self.group_rate].into_iter().flatten().filter_map(RateOverride::rate);
        rates.into_iter().try_for_each(|rate| rate.check())
    }
}

/// The limits that the code of a queue's worker says. [`Overrides`] hold in their place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkerSettings {
    /// How many of its jobs run at the same time.
    pub concurrency: usize,
    /// How many of its jobs start per period of time.
    pub rate: Option<Rate>,
    /// How many jobs of each group start per period of time.
    pub group_rate: Option<Rate>,
    /// The circuit breaker of the queue.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// The circuit breaker of each group.
    pub group_circuit_breaker: Option<CircuitBreaker>,
}

impl WorkerSettings {
    pub(crate) fn new(concurrency: usize, rate: Option<Rate>, group_rate: Option<Rate>) -> Self {
        Self { concurrency, rate, group_rate, circuit_breaker: None, group_circuit_breaker: None }
    }

    pub(crate) fn with_breakers(mut self, queue: Option<CircuitBreaker>, group: Option<CircuitBreaker>) -> Self {
        (self.circuit_breaker, self.group_circuit_breaker) = (queue, group);
        self
    }

    /// The settings that hold with these overrides.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.worker("billing").concurrency(5).handle(|_: Job<Charge>| async { Ok(()) }).start()?;
    /// let billing = pond.queue("billing")?;
    /// billing.set_overrides(Overrides::new().concurrency(2)).await?;
    ///
    /// let own = billing.worker_settings().expect("the queue has a worker");
    /// assert_eq!((own.concurrency, own.with(&billing.overrides()).concurrency), (5, 2));
    /// # Ok(()) });
    /// ```
    pub fn with(&self, overrides: &Overrides) -> Self {
        let rate = |over: Option<RateOverride>, own| over.map_or(own, RateOverride::rate);
        Self {
            concurrency: overrides.slots(self.concurrency),
            rate: rate(overrides.rate, self.rate),
            group_rate: rate(overrides.group_rate, self.group_rate),
            ..*self
        }
    }
}

/// What an operator has set for a queue, as the file keeps it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Steered {
    pub overrides: Overrides,
    pub paused_kinds: BTreeSet<KindId>,
}

impl Steered {
    pub fn is_empty(&self) -> bool {
        self.overrides.is_empty() && self.paused_kinds.is_empty()
    }
}
