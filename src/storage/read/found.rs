//! A job as a reader has found it.

use crate::job::{JobId, QueueId, Record, State};
use crate::storage::rows::place::Place;

/// A job, and where it was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub id: JobId,
    pub queue: QueueId,
    pub place: Place,
    pub record: Record,
    /// Its index entry cannot be read: it was searched for.
    pub unindexed: bool,
}

impl Found {
    /// Its state as far as the file knows; whether a handler has it only the scheduler knows.
    pub fn state(&self) -> State {
        match self.place {
            Place::Ready { .. } => State::Pending,
            _ => self.record.state,
        }
    }

    /// The same with bytes of its own, to be kept after the scan. A scan does not copy a record, so its bytes are slices
    /// of a page of the file with other rows in it: as long as such a slice is kept, the page cannot be used again.
    pub fn kept(mut self) -> Self {
        self.record.own_bytes();
        self
    }
}
