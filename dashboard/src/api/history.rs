//! What happened in the last hour.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What a queue, or the whole pond, did in each minute of the last hour. It is kept in memory, so it begins anew with the
/// process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// One point for each of the last 60 minutes, the oldest first, and one for the minute that has not ended.
    pub points: Vec<Point>,
}

/// What happened in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// When the minute ended, or until when this is known.
    pub at: Time,
    /// Jobs that were enqueued.
    pub enqueued: u64,
    /// Jobs that were completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
}
