//! What happens now.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// Something that has just happened. `GET api/v1/events` sends these as server-sent events, each as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LiveEvent {
    /// When it was told.
    pub at: Time,
    /// What has happened: `completed`, `retrying`, `dead`, `paused`, …
    pub kind: String,
    /// The queue.
    pub queue: Option<String>,
    /// The job.
    pub job: Option<String>,
    /// Everything else, as text: `kind mail, attempt 2, took 31ms`.
    pub detail: String,
}
