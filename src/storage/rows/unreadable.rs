//! Jobs' rows that cannot be read, as a write transaction keeps them until they are moved to the quarantine.

use bytes::Bytes;

use crate::job::{JobId, QueueId};
use crate::storage::rows::place::Place;

/// A job's row that a verb has met and could not read. It is moved to the quarantine at the end of the verb.
#[derive(Debug)]
pub(in crate::storage) enum Unreadable {
    /// The row has left its table.
    Left { queue: QueueId, id: JobId, place: Place, row: Bytes },
    /// The row is where the index says.
    InPlace(JobId),
}
