//! The start mark: the durable note that an attempt has started.

use serde::{Deserialize, Serialize};

use crate::job::QueueId;
use crate::time::Timestamp;

/// One attempt that has started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StartMark {
    pub queue: QueueId,
    pub priority: u8,
    /// The head's position; the id for a job without a group.
    pub position: u64,
    pub attempt: u32,
    pub max_attempts: u32,
    pub started_at: Timestamp,
    /// It was suspected of an earlier death and tried alone: nothing ran when it started, and nothing has
    /// started beside it since.
    pub alone: bool,
}

/// A start mark with the reason of a cancel that was requested while the attempt ran. Its row is that of the mark, and the
/// reason follows it.
pub(crate) type CancelledMark = (StartMark, String);
