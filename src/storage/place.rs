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

/// What a search in a read transaction has said of a job's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KnownQueue {
    /// There was none, or it has failed.
    #[default]
    NotSearched,
    Nowhere,
    Found(QueueId),
}

impl Batch<'_> {
    /// Where the job lies. If nothing tells its queue this searches through all queues that have ready jobs.
    pub fn locate(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        let queue = self.catalog().recent.queue_of(id);
        self.locate_with(id, queue)
    }

    /// Where the job lies that is in `queue` if it is anywhere: a job never changes its queue.
    pub fn locate_in(&mut self, queue: QueueId, id: JobId) -> Result<Option<Location>, Fault> {
        self.locate_with(id, Some(queue))
    }

    fn locate_with(&mut self, id: JobId, queue: Option<QueueId>) -> Result<Option<Location>, Fault> {
        if let Some(location) = self.indexed(id)? {
            return Ok(Some(location));
        }
        let (found, _) = ready::find(self.tables.ready()?, id, queue)?;
        Ok(found.map(|(queue, priority)| Location { queue, place: Place::Ready { priority } }))
    }

    /// Where the job lies, if a reader has searched for its queue since the caller asked. The writer does not search
    /// again: a job that was stored after that search is among the latest ones, or concerns the caller no more.
    pub fn locate_known(&mut self, id: JobId, known: KnownQueue) -> Result<Option<Location>, Fault> {
        let queue = match known {
            KnownQueue::NotSearched => return self.locate(id),
            KnownQueue::Found(queue) => Some(queue),
            KnownQueue::Nowhere => self.catalog().recent.queue_of(id),
        };
        match queue {
            Some(queue) => self.locate_in(queue, id),
            None => self.indexed(id),
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::job::{Priority, Record};
    use crate::storage::Store;
    use crate::storage::waiting::Prepared;
    use crate::time::Now;

    #[test]
    fn the_writer_searches_no_queues_for_a_job_that_a_reader_has_searched_for() {
        let store = Store::in_memory();
        let counters = store.load().unwrap();
        let none = BTreeSet::new();
        let txn = store.begin_write().unwrap();
        let mut batch = Batch::new(&txn, &store.catalog, counters, &none, Now::default(), false);
        let mut ids = Vec::new();
        for n in 0..40 {
            let queue = batch.queue_named(&format!("q{}", n % 4)).unwrap();
            ids.push((batch.insert(&mut Prepared::new(queue, Record::plain(), None)).unwrap(), queue));
        }
        let counters = batch.seal().unwrap().counters;
        store.commit(txn).unwrap();

        // Nothing is known of the latest jobs, as after a restart.
        let reader = store.reader().unwrap();
        let unknown = JobId::new(1_000);
        assert_eq!(reader.queue_of(&store.catalog, unknown).unwrap(), KnownQueue::Nowhere);
        let txn = store.begin_write().unwrap();
        let mut batch = Batch::new(&txn, &store.catalog, counters, &none, Now::default(), false);
        for (id, queue) in ids {
            let known = reader.queue_of(&store.catalog, id).unwrap();
            assert_eq!(known, KnownQueue::Found(queue));
            let there = Some(Location { queue, place: Place::Ready { priority: Priority::default().get() } });
            assert_eq!(batch.locate_known(id, known).unwrap(), there);
            assert_eq!(batch.locate_known(id, KnownQueue::NotSearched).unwrap(), there);
            // It would find the job if it searched.
            assert_eq!(batch.locate_known(id, KnownQueue::Nowhere).unwrap(), None);
            assert_eq!(batch.locate_known(id, KnownQueue::Found(queue + 1)).unwrap(), None);
        }
        assert_eq!(batch.locate_known(unknown, KnownQueue::Nowhere).unwrap(), None);
    }
}
