//! The rate at which jobs may start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// A token bucket: so many starts per period, with a burst.
///
/// In every window of length `w` at most `burst + w × rate` jobs start, across a restart too. The
/// bucket is [the usual one](https://en.wikipedia.org/wiki/Token_bucket): it holds at most `burst`
/// tokens, gains `count / period` a second, and each start takes one.
///
/// ```
/// use millpond::Rate;
///
/// let rate = Rate::per_minute(600).burst(50);
/// assert_eq!(rate.tokens_per_second(), 10.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rate {
    /// How many starts per period.
    pub count: u32,
    /// The period.
    pub period: Duration,
    /// How many tokens may be saved up; `None` is 1.
    pub burst: Option<u32>,
}

impl Rate {
    /// `count` starts a second. The burst is 1 unless set.
    pub const fn per_second(count: u32) -> Self {
        Self::new(count, Duration::from_secs(1))
    }

    /// `count` starts a minute. The burst is 1 unless set.
    pub const fn per_minute(count: u32) -> Self {
        Self::new(count, Duration::from_secs(60))
    }

    /// `count` starts an hour. The burst is 1 unless set.
    pub const fn per_hour(count: u32) -> Self {
        Self::new(count, Duration::from_secs(3600))
    }

    /// `count` starts per `period`. The burst is 1 unless set.
    pub const fn new(count: u32, period: Duration) -> Self {
        Self { count, period, burst: None }
    }

    /// How many tokens may be saved up, and so be used at once.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let steady = Rate::per_minute(600);
    /// let bursty = Rate::per_minute(600).burst(50);
    /// assert_eq!(steady.tokens_per_second(), bursty.tokens_per_second());
    /// ```
    pub const fn burst(mut self, tokens: u32) -> Self {
        self.burst = Some(tokens);
        self
    }

    /// The long-run rate.
    pub fn tokens_per_second(&self) -> f64 {
        f64::from(self.count) / self.period.as_secs_f64()
    }

    pub(crate) fn burst_tokens(&self) -> u32 {
        self.burst.unwrap_or(1)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::config("rate", why.to_owned()));
        if self.count == 0 {
            return refuse("0 starts per period would never start a job: pause the queue instead");
        }
        if self.period.is_zero() {
            return refuse("the period is zero");
        }
        if self.burst == Some(0) {
            return refuse("a burst of 0 would never start a job: the least is 1");
        }
        Ok(())
    }
}
