//! The states of a job. What moves a job from one to another is in `life.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a job is, seen from outside.
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
    /// Could run: waits for a slot, its turn, or a handler. The dispatcher moves it on.
    Pending,
    /// Due later. The promoter makes it `Pending` when its time has come.
    Scheduled,
    /// A handler has it.
    Running,
    /// An attempt failed; due again later. The promoter moves it on.
    Retrying,
    /// Done. Kept as long as the queue's retention says, by default only if it has a result.
    Completed,
    /// Failed for good: in the dead-letter table until redriven or purged.
    Dead,
    /// Stopped on purpose: cancelled by a caller or by its handler, or expired.
    Cancelled,
    /// Waits for other jobs. Reserved: nothing enters this state yet.
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
