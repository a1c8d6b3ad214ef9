//! Facet: where each job is. The index has every job but those in `ready`, which are searched for.

use redb::ReadableTable;

use super::moved::Moved;
use super::verifier::Verifier;
use crate::job::{Change, JobId, QueueId, State};
use crate::storage::rows::aside::Damage;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{KnownQueue, Location, Member, Place, is_pointer};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::ready;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::time::{Due, TimeLine, Timestamp};
use bytes::Bytes;

/// Notes where the job is now. The index has no jobs that are in `ready`.
#[inline]
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    match moved.indexed {
        Some(place) => batch.index(moved.id, moved.queue, place.clone()),
        None if moved.was_indexed => batch.unindex(moved.id),
        None => Ok(()),
    }
}

impl Batch<'_> {
    /// Where the job lies. If nothing tells its queue this searches through all queues that have ready jobs.
    pub fn locate(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        let queue = self.catalog().recent.queue_of(id);
        self.locate_with(id, queue)
    }

    /// Where the job lies that is in `queue` if it is anywhere.
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
            Some(queue) => match self.locate_in(queue, id)? {
                None => self.locate_moved(id, queue),
                location => Ok(location),
            },
            None => self.indexed(id),
        }
    }

    /// Where the job lies if an operator has moved it from `queue` to another one since a reader has searched for it: in
    /// an earlier commit, or in this batch.
    fn locate_moved(&mut self, id: JobId, queue: QueueId) -> Result<Option<Location>, Fault> {
        let made_ready = |change: &Change| match change {
            Change::Ready { queue, job } if job.id == id => Some(*queue),
            _ => None,
        };
        let in_batch = self.changes.iter().rev().find_map(made_ready);
        match in_batch.or_else(|| self.catalog().recent.queue_of(id)).filter(|other| *other != queue) {
            Some(other) => self.locate_in(other, id),
            None => Ok(None),
        }
    }

    /// The job's place in its group, if it has one.
    pub(in crate::storage) fn member(&mut self, id: JobId) -> Result<Option<Member>, Fault> {
        match self.indexed(id)? {
            Some(Location { place: Place::Member(member), .. }) => Ok(Some(member)),
            _ => Ok(None),
        }
    }

    pub(in crate::storage) fn index(&mut self, id: JobId, queue: QueueId, place: Place) -> Result<(), Fault> {
        let row = codec::encode(&Location { queue, place });
        self.tables.index()?.insert(id.get(), row.as_slice())?;
        Ok(())
    }

    pub(in crate::storage) fn unindex(&mut self, id: JobId) -> Result<(), Fault> {
        self.tables.index()?.remove(id.get())?;
        Ok(())
    }

    /// A job's row at its place.
    pub(in crate::storage) fn row_at(
        &mut self,
        queue: QueueId,
        id: JobId,
        place: &Place,
    ) -> Result<Option<Bytes>, Fault> {
        let number = id.get();
        match place {
            Place::Ready { priority } => self.tables.ready()?.get_row((queue, *priority, number)),
            Place::Delayed { due } => {
                self.tables.delayed()?.get_row((queue, due.line as u8, due.at.as_millis(), number))
            }
            Place::Member(member) => self.tables.members()?.get_row(member.key(queue, id)),
            Place::Dead { at } => self.tables.dead_letters()?.get_row((queue, at.as_millis(), number)),
            Place::Finished { state, at } => {
                self.tables.finished()?.get_row((queue, *state as u8, at.as_millis(), number))
            }
            Place::Blocked => self.tables.blocked()?.get_row((queue, number)),
        }
    }

    // --- made anew ---

    /// Where the index has the job.
    pub fn indexed(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        let Some(row) = self.tables.index()?.get_row(id.get())? else { return Ok(None) };
        match codec::decode(TableName::Index, id.get(), &row) {
            Ok(location) => Ok(Some(location)),
            Err(_) => self.index_anew(id, &row),
        }
    }

    fn index_anew(&mut self, id: JobId, damaged: &[u8]) -> Result<Option<Location>, Fault> {
        self.quarantine_row_of(TableName::Index, &id, damaged, (None, Some(id)))?;
        self.unindex(id)?;
        let found = self.search(id)?;
        if let Some(Location { queue, place }) = found.clone() {
            self.index(id, queue, place)?;
        }
        Ok(found)
    }

    /// Looks for a job by its number alone, wherever an index entry could lead.
    fn search(&mut self, id: JobId) -> Result<Option<Location>, Fault> {
        for row in self.tables.members()?.iter()? {
            let key = row?.0;
            let (queue, group, parked, seq, number) = key.value();
            if number == id.get() {
                let place = Place::Member(Member { group: group.into(), parked: parked == 1, seq });
                return Ok(Some(Location { queue, place }));
            }
        }
        for row in self.tables.delayed()?.iter()? {
            let (key, value) = row?;
            let (queue, line, at, number) = key.value();
            if number == id.get() && !is_pointer(value.value()) {
                let line = if line == TimeLine::Wall as u8 { TimeLine::Wall } else { TimeLine::Engine };
                let place = Place::Delayed { due: Due { line, at: Timestamp::from_millis(at) } };
                return Ok(Some(Location { queue, place }));
            }
        }
        for row in self.tables.blocked()?.iter()? {
            let (queue, number) = row?.0.value();
            if number == id.get() {
                return Ok(Some(Location { queue, place: Place::Blocked }));
            }
        }
        for row in self.tables.dead_letters()?.iter()? {
            let (queue, at, number) = row?.0.value();
            if number == id.get() {
                return Ok(Some(Location { queue, place: Place::Dead { at: Timestamp::from_millis(at) } }));
            }
        }
        for row in self.tables.finished()?.iter()? {
            let (queue, state, at, number) = row?.0.value();
            if number == id.get() {
                let state = if state == State::Completed as u8 { State::Completed } else { State::Cancelled };
                let place = Place::Finished { state, at: Timestamp::from_millis(at) };
                return Ok(Some(Location { queue, place }));
            }
        }
        Ok(None)
    }
}

// --- verification ---

/// The entry of a job in the index. The inner result is an error if the entry cannot be read.
pub(super) fn look_up(verifier: &mut Verifier<'_>, id: u64) -> Result<Result<Option<Location>, Fault>, Fault> {
    verifier.work.lookups += 1;
    let row = verifier.index.get(id)?;
    Ok(row.map(|row| codec::decode(TableName::Index, id, row.value())).transpose())
}

/// Checks that the index has the job that was read at this place. Jobs in `ready` have no entry.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, id: u64, place: &Place) -> Result<(), Fault> {
    let is_ready = matches!(place, Place::Ready { .. });
    match look_up(verifier, id)? {
        Ok(None) if is_ready => {}
        Ok(Some(_)) if is_ready => {
            verifier.problem(format!("job {id} is ready, but the index has an entry for it"));
        }
        Ok(Some(found)) if (found.queue, &found.place) == (queue, place) => {}
        Ok(_) => verifier.problem(format!("the index has no entry for job {id}, or a wrong one")),
        // An entry that cannot be read is reported with the index.
        Err(_) => {}
    }
    Ok(())
}

/// Checks that each entry leads to a job. [`check_job`] checks that each job has an entry.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.index.range::<u64>(..)? {
        verifier.work.rows += 1;
        let (id, row) = row?;
        let id = id.value();
        match codec::decode::<Location>(TableName::Index, id, row.value()) {
            Err(fault) => verifier.unreadable(fault),
            Ok(location) if is_at(verifier, id, &location)? => {}
            Ok(Location { queue, place }) => {
                let queue = verifier.name(queue);
                verifier.problem(format!("the index has job {id} at {place:?} of {queue}, but no such row exists"));
            }
        }
    }
    Ok(())
}

fn is_at(verifier: &mut Verifier<'_>, id: u64, location: &Location) -> Result<bool, Fault> {
    verifier.work.lookups += 1;
    let queue = location.queue;
    match &location.place {
        // Ready jobs have no index entry.
        Place::Ready { .. } => Ok(false),
        Place::Delayed { due } => {
            let row = verifier.delayed.get((queue, due.line as u8, due.at.as_millis(), id))?;
            Ok(row.is_some_and(|row| !is_pointer(row.value())))
        }
        Place::Member(member) => verifier.members.has(member.key(queue, JobId::new(id))),
        Place::Dead { at } => verifier.dead_letters.has((queue, at.as_millis(), id)),
        Place::Finished { state, at } => verifier.finished.has((queue, *state as u8, at.as_millis(), id)),
        Place::Blocked => verifier.blocked.has((queue, id)),
    }
}

/// The jobs whose entries cannot be read. [`Batch::indexed`] makes such an entry anew.
pub(in crate::storage) fn damages(reader: &Reader) -> Result<Vec<Damage>, Fault> {
    let mut damages = Vec::new();
    for row in reader.tables().index()?.iter()? {
        let (id, row) = row?;
        if codec::decode::<Location>(TableName::Index, id.value(), row.value()).is_err() {
            damages.push(Damage::Job(JobId::new(id.value())));
        }
    }
    Ok(damages)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::job::{Priority, Record};
    use crate::storage::Store;
    use crate::storage::rows::prepared::Prepared;
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
        let counters = batch.close().unwrap().counters;
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
