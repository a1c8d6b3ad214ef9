//! The place of a job in the file: which table has it, and under which key.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::{JobId, QueueId, State};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables::MemberKey;
use crate::time::{Due, Timestamp};

/// Which table has the job, and under which key. An ended job is there since `at` on the age line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Ready {
        priority: u8,
    },
    Delayed {
        due: Due,
    },
    Member(Member),
    Dead {
        at: Timestamp,
    },
    Finished {
        state: State,
        at: Timestamp,
    },
    /// Waits for other jobs of its flow.
    Blocked,
}

/// A job's place among the waiting jobs of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub group: Arc<str>,
    /// Whether the other members run before it until it is due.
    pub parked: bool,
    /// Its place in the group.
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

impl Location {
    pub fn is_dead_letter_of(&self, queue: QueueId) -> bool {
        self.queue == queue && matches!(self.place, Place::Dead { .. })
    }
}

/// What a search in a read transaction has found out about a job's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KnownQueue {
    /// There was no search, or it has failed.
    #[default]
    NotSearched,
    Nowhere,
    Found(QueueId),
}

impl Place {
    /// Whether the jobs there have ended.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Dead { .. } | Self::Finished { .. })
    }

    pub fn table(&self) -> TableName {
        match self {
            Self::Ready { .. } => TableName::Ready,
            Self::Delayed { .. } => TableName::Delayed,
            Self::Member(_) => TableName::Members,
            Self::Dead { .. } => TableName::DeadLetters,
            Self::Finished { .. } => TableName::Finished,
            Self::Blocked => TableName::Blocked,
        }
    }
}

/// What a row of `delayed` holds for a job with a group instead of its record: the index says where the record is. A
/// record is longer than one byte, so a damaged pointer cannot be taken for one.
pub(in crate::storage) const POINTER: [u8; 1] = [0];

pub(in crate::storage) fn is_pointer(row: &[u8]) -> bool {
    row.len() == POINTER.len()
}
