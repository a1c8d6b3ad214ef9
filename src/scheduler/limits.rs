//! The limits that the scheduler is given: of its memory, and of a worker.

use std::time::Duration;

use crate::job::{IdSet, KindId, Rate};

/// How many ready jobs of a queue are held in memory. The limits apply separately to jobs with and without a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    pub jobs_max: usize,
    pub bytes_max: usize,
    /// The start mark of a run that lasts this long is written.
    pub mark_after: Duration,
}

/// A worker's limits.
#[derive(Clone, Debug)]
pub(crate) struct WorkerLimits {
    pub kinds: IdSet<KindId>,
    /// The kinds whose handlers need a thread.
    pub blocking: IdSet<KindId>,
    pub concurrency: usize,
    pub rate: Option<Rate>,
    pub group_rate: Option<Rate>,
}
