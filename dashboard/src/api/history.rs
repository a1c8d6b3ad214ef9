//! What happened in the last hour.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What a queue, or the whole pond, did in each minute of the last hour. It is kept in memory, so it begins anew with the
/// process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// One point for each minute that has ended, the oldest first; at most 60.
    pub points: Vec<Point>,
}

/// What happened in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// When the minute ended.
    pub at: Time,
    /// Jobs that were enqueued.
    pub enqueued: u64,
    /// Jobs that were completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
}
