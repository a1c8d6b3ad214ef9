//! How large a batch becomes, and how long its first job waits for others.

use std::time::Duration;

use crate::error::Error;

/// Default time that the first job of a batch waits for others.
const WAIT_DEFAULT: Duration = Duration::from_millis(50);

/// How many jobs one call of a [batch handler](crate::WorkerBuilder::handle_batch) gets, and how long they wait for each
/// other.
///
/// A batch begins with the first job that starts while no other batch of its kind is forming. The handler is called as soon
/// as one of these is true:
///
/// - The batch has [`up_to`](Self::up_to) jobs.
/// - The first job of the batch has waited for the time of [`wait`](Self::wait).
/// - No other job can join, because the jobs of the batch have all slots of the worker.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// use millpond::{Batch, Jobs};
///
/// pond.worker("billing")
///     .handle_batch(Batch::up_to(100).wait(Duration::from_millis(20)), |jobs: Jobs<Charge>| async move {
///         println!("{} charges at once", jobs.len());
///         Ok(())
///     })
///     .start()?;
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is passed to `handle_batch`"]
pub struct Batch {
    pub(crate) jobs_max: usize,
    pub(crate) wait: Duration,
}

impl Batch {
    /// The highest number of jobs of a batch.
    pub const JOBS_MAX: usize = 1_000;

    /// The longest time that the first job of a batch waits for others. It occupies a slot meanwhile.
    pub const WAIT_MAX: Duration = Duration::from_secs(60);

    /// A batch of at most `jobs` jobs: from 1 to [`JOBS_MAX`](Self::JOBS_MAX).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use millpond::{Batch, Jobs};
    ///
    /// let worker = pond.worker("billing").handle_batch(Batch::up_to(0), |_: Jobs<Charge>| async { Ok(()) });
    /// assert!(matches!(worker.start(), Err(Error::InvalidConfig { field: "handle_batch", .. })));
    /// # Ok(()) });
    /// ```
    pub fn up_to(jobs: usize) -> Self {
        Self { jobs_max: jobs, wait: WAIT_DEFAULT }
    }

    /// How long the first job of a batch waits for others, by the monotonic clock; at most [`WAIT_MAX`](Self::WAIT_MAX).
    /// Default 50 ms. With zero a batch has the jobs that start together, without a wait.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    pub(crate) fn check(self) -> Result<(), Error> {
        let Self { jobs_max, wait } = self;
        if !(1..=Self::JOBS_MAX).contains(&jobs_max) {
            let reason = format!("a batch of up to {jobs_max} jobs: the number is from 1 to {}", Self::JOBS_MAX);
            return Err(Error::config("handle_batch", reason));
        }
        if wait > Self::WAIT_MAX {
            let reason = format!("a wait of {wait:?} is above {:?}: its jobs occupy slots meanwhile", Self::WAIT_MAX);
            return Err(Error::config("handle_batch", reason));
        }
        Ok(())
    }
}
