//! Where a job lies: which table has it, and under which key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::{JobId, QueueId, State};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::MemberKey;
use crate::time::{Due, Timestamp};

/// Which table has the job, and under which key. An ended job is there since `at` on the age line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Ready { priority: u8 },
    Delayed { due: Due },
    Member(Member),
    Dead { at: Timestamp },
    Finished { state: State, at: Timestamp },
}

/// A job's place among the waiting of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub group: Arc<str>,
    /// Out of the line until it is due: the others go before it.
    pub parked: bool,
    /// Its place in line.
    pub seq: u64,
}

impl Member {
    pub fn key(&self, queue: QueueId, id: JobId) -> MemberKey<'_> {
        (queue, &*self.group, u8::from(self.parked), self.seq, id.get())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Location {
    pub queue: QueueId,
    pub place: Place,
}

/// What a search in a read transaction has said of a job's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KnownQueue {
    /// There was none, or it has failed.
    #[default]
    NotSearched,
    Nowhere,
    Found(QueueId),
}

impl Place {
    pub fn table(&self) -> TableName {
        match self {
            Self::Ready { .. } => TableName::Ready,
            Self::Delayed { .. } => TableName::Delayed,
            Self::Member(_) => TableName::Members,
            Self::Dead { .. } => TableName::DeadLetters,
            Self::Finished { .. } => TableName::Finished,
        }
    }
}

/// What a delayed row holds for a job with a group, instead of its record: the index says where
/// that is. No record is as short as one byte, whatever that byte has become.
pub(in crate::storage) const POINTER: [u8; 1] = [0];

pub(in crate::storage) fn is_pointer(row: &[u8]) -> bool {
    row.len() == POINTER.len()
}
