//! Links.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A link that runs in the process: it moves jobs between a queue and other machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Its name: where its jobs come from, and where they go.
    pub name: String,
    /// The queue of the file.
    pub queue: String,
    /// What it does with the jobs of the queue.
    pub direction: LinkDirection,
    /// The other side: a mailbox or a shared queue.
    pub remote: String,
    /// The engine between the two.
    pub engine: String,
    /// When it was started. The counts are since then.
    pub started_at: Time,
    /// Whether the engine has answered the latest call.
    pub is_connected: bool,
    /// Since when it answers, or does not. `None`: it was not called yet.
    pub since: Option<Time>,
    /// The latest error, also after the engine has answered again.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Time>,
    /// Jobs that were sent and that the engine has confirmed, or that were received and stored.
    pub jobs: u64,
    /// When the latest of them were.
    pub latest_at: Option<Time>,
    /// The number of the latest batch that the engine has confirmed, or the position in the engine's log up to which everything is
    /// stored.
    pub position: Option<u64>,
    /// Jobs that are still to be moved. `None` if the engine does not say it.
    pub lag: Option<u64>,
    /// Jobs of the batch that is being sent: nobody knows yet whether the engine has them.
    pub in_doubt: u64,
    /// Jobs that were sent or received again, and were known already.
    pub known: u64,
    /// How often the engine had lost what it had acknowledged.
    pub engine_went_back: u64,
    /// How often the file was found to be an older copy.
    pub file_went_back: u64,
    /// Batches that the engine has lost and that were not kept any more.
    pub lost_batches: u64,
    /// Messages that could not be read as jobs.
    pub unreadable: u64,
    /// Jobs that the process holds by leases.
    pub held: u64,
    /// Leases that have ended before their jobs.
    pub lost_leases: u64,
}

/// What a link does with the jobs of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LinkDirection {
    /// It sends them elsewhere.
    Forward,
    /// It enqueues jobs that were sent from elsewhere.
    Receive,
    /// It enqueues jobs that several machines share, and has a lease of each.
    Take,
    /// Something else, which a later version says.
    #[serde(other)]
    Other,
}

impl Link {
    /// Whether it is `connected`, still `connecting` for the first time, or `down`.
    pub fn state(&self) -> &'static str {
        match (self.is_connected, self.since) {
            (true, _) => "connected",
            (false, None) => "connecting",
            (false, Some(_)) => "down",
        }
    }
}
