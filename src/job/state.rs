//! The states of a job. What moves a job from one to another is in `life.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a job, as applications see it.
///
/// ```
/// use millpond::State;
///
/// assert!(State::Dead.is_final());
/// assert!(!State::Retrying.is_final());
/// assert_eq!(State::Retrying.to_string(), "retrying");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// The job can run. It waits for a slot, for the jobs before it, or for a worker with a handler for its kind.
    Pending,
    /// The job is due later. It becomes `Pending` when it is due.
    Scheduled,
    /// The job was handed to a handler.
    Running,
    /// An attempt failed, and the job is due again later. It becomes `Pending` when it is due.
    Retrying,
    /// The job is done. It is kept for as long as the queue's retention says, by default only if it has a result.
    Completed,
    /// The job has failed and is not tried again. It is kept as a dead letter until it is redriven, purged or removed by
    /// retention.
    Dead,
    /// The job was cancelled by a caller or by its handler, or has expired.
    Cancelled,
    /// The job waits for other jobs. Reserved: no job has this state yet.
    Blocked,
}

impl State {
    /// Whether a job in this state will never run again by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Cancelled)
    }
}

/// One word in lower case, such as `pending`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
        })
    }
}
