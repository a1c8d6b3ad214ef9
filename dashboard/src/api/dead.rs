//! Dead letters by their errors.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Dead letters whose errors differ only in numbers and ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadGroup {
    /// The error with `#` in place of numbers and ids: `order # was refused`. It names the group.
    pub error: String,
    /// How many dead letters have it.
    pub count: u64,
    /// The error of one of them, as it is.
    pub sample: String,
    /// The job with that error.
    pub job: String,
    /// Their queues.
    pub queues: Vec<String>,
    /// Their kinds.
    pub kinds: Vec<String>,
    /// When the first of them died.
    pub first_seen: Time,
    /// When the latest of them died.
    pub last_seen: Time,
}

/// The dead letters of the pond, or of a queue, by their errors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadSummary {
    /// How many dead letters there are.
    pub total: u64,
    /// How many of them were read for the groups: 10,000 at most.
    pub read: u64,
    /// The groups, the largest first.
    pub groups: Vec<DeadGroup>,
}

impl DeadSummary {
    /// How many dead letters of a group were read: all of them, or at least so many if the summary [is partial](Self::is_partial).
    pub fn count_of(&self, error_group: &str) -> u64 {
        self.groups.iter().find(|group| group.error == error_group).map_or(0, |group| group.count)
    }

    /// Whether there are dead letters that were not read.
    pub fn is_partial(&self) -> bool {
        self.read < self.total
    }
}
