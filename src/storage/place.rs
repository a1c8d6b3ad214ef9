use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::codec;
use super::fault::Fault;
use super::ready;
use super::tables::MemberKey;
use crate::job::{JobId, QueueId, State};
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

impl Batch<'_> {
    /// Where the job lies.
    pub fn locate(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        if let Some(location) = self.indexed(id)? {
            return Ok(Some(location));
        }
        let queue = self.catalog().recent.queue_of(id);
        let (found, _) = ready::find(self.tables.ready()?, id, queue)?;
        Ok(found.map(|(queue, priority)| Location { queue, place: Place::Ready { priority } }))
    }

    /// The job's place in its group, if it has one.
    pub(super) fn member(&mut self, id: JobId) -> Result<Option<Member>, Fault> {
        match self.indexed(id)? {
            Some(Location { place: Place::Member(member), .. }) => Ok(Some(member)),
            _ => Ok(None),
        }
    }

    pub(super) fn index(&mut self, id: JobId, queue: QueueId, place: Place) -> Result<(), Fault> {
        let row = codec::encode(&Location { queue, place });
        self.tables.index()?.insert(id.get(), row.as_slice())?;
        Ok(())
    }

    pub(super) fn unindex(&mut self, id: JobId) -> Result<(), Fault> {
        self.tables.index()?.remove(id.get())?;
        Ok(())
    }
}
