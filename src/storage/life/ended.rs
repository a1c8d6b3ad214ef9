//! Home: jobs that have ended: the dead letters, and what retention keeps of the others.

use redb::ReadableTable;

use super::facets::check_job;
use super::verifier::Verifier;
use crate::job::{JobId, Keep, QueueId, Record, Retention, State};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::{encode_record, record_with_tags, record_with_tags_or_group};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::time::Timestamp;

/// What a sweep may still remove in this batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SweepRoom {
    pub rows: usize,
    /// Bytes of records.
    pub bytes: u64,
}

impl SweepRoom {
    pub fn is_used_up(&self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

impl Batch<'_> {
    /// Stores an ended job at its place, in the dead letters or among the finished jobs.
    pub(super) fn put_ended(&mut self, queue: QueueId, id: JobId, place: &Place, bytes: &[u8]) -> Result<(), Fault> {
        self.moved(bytes.len());
        match place {
            Place::Finished { state, at } => {
                self.tables.finished()?.insert((queue, *state as u8, at.as_millis(), id.get()), bytes)?;
            }
            Place::Dead { at } => {
                self.tables.dead_letters()?.insert((queue, at.as_millis(), id.get()), bytes)?;
            }
            _ => debug_assert!(false, "a job that has ended does not wait"),
        }
        Ok(())
    }

    pub(super) fn take_dead(&mut self, queue: QueueId, id: JobId, at: Timestamp) -> Result<bool, Fault> {
        Ok(self.tables.dead_letters()?.remove((queue, at.as_millis(), id.get()))?.is_some())
    }

    pub(super) fn take_finished(
        &mut self,
        queue: QueueId,
        id: JobId,
        state: State,
        at: Timestamp,
    ) -> Result<bool, Fault> {
        Ok(self.tables.finished()?.remove((queue, state as u8, at.as_millis(), id.get()))?.is_some())
    }

    pub fn replace_dead_letter(
        &mut self,
        queue: QueueId,
        id: JobId,
        at: Timestamp,
        record: &Record,
    ) -> Result<(), Fault> {
        self.touch();
        let bytes = encode_record(record);
        self.moved(bytes.len());
        self.tables.dead_letters()?.insert((queue, at.as_millis(), id.get()), &*bytes)?;
        Ok(())
    }

    /// How long ended jobs of this queue are kept.
    pub fn retention(&mut self, queue: QueueId) -> Retention {
        let stored = self.queue_ref(queue).settings.retention;
        self.catalog().retention(stored)
    }

    /// The jobs of one queue that retention no longer keeps, as long as there is room, the oldest of each state first.
    pub(super) fn no_longer_kept(&mut self, queue: QueueId, room: &mut SweepRoom) -> Result<Vec<Old>, Fault> {
        let row = self.queue(queue);
        let keep = self.retention(queue);
        let mut old = Vec::new();
        for (state, count, keep) in [
            (State::Completed, row.tally.completed, keep.completed),
            (State::Cancelled, row.tally.cancelled, keep.cancelled),
        ] {
            let (surplus, cutoff) = (surplus(count, keep, room.rows), self.cutoff(keep));
            let range = (queue, state as u8, 0, 0)..=(queue, state as u8, u64::MAX, u64::MAX);
            let rows = self.tables.finished()?.range(range)?.map(|row| {
                let (key, value) = row?;
                let (_, _, at, id) = key.value();
                let at = Timestamp::from_millis(at);
                Ok(Old::new(id, Place::Finished { state, at }, at, value.value()))
            });
            old.extend(oldest(rows, surplus, cutoff, room)?);
        }
        let (surplus, cutoff) = (surplus(row.tally.dead, keep.dead, room.rows), self.cutoff(keep.dead));
        let rows = self.tables.dead_letters()?.range((queue, 0, 0)..=(queue, u64::MAX, u64::MAX))?.map(|row| {
            let (key, value) = row?;
            let (_, at, id) = key.value();
            let at = Timestamp::from_millis(at);
            Ok(Old::new(id, Place::Dead { at }, at, value.value()))
        });
        old.extend(oldest(rows, surplus, cutoff, room)?);
        Ok(old)
    }

    /// Jobs that ended at this time or earlier, on the age line, are too old. `None` if that much time has not passed
    /// yet.
    fn cutoff(&self, keep: Keep) -> Option<u64> {
        self.now.age.as_millis().checked_sub(u64::try_from(keep.age.as_nanos().div_ceil(1_000_000)).ok()?)
    }
}

/// A job that has ended and is not to be kept any longer.
pub(super) struct Old {
    pub id: JobId,
    pub place: Place,
    pub bytes: usize,
    at: Timestamp,
    /// Only if it has tags, which the facet of tags must hear of, or is a dead letter that can hold its group.
    pub record: Option<Box<Record>>,
}

impl Old {
    fn new(id: u64, place: Place, at: Timestamp, row: &[u8]) -> Self {
        let record = match place {
            Place::Dead { .. } => record_with_tags_or_group(row),
            _ => record_with_tags(row),
        };
        let record = record.map(Box::new);
        Self { id: JobId::new(id), place, bytes: row.len(), at, record }
    }
}

/// The first of these rows that are to be removed, as long as there is room.
fn oldest(
    rows: impl Iterator<Item = Result<Old, Fault>>,
    surplus: usize,
    cutoff: Option<u64>,
    room: &mut SweepRoom,
) -> Result<Vec<Old>, Fault> {
    let mut old = Vec::new();
    for row in rows.take(room.rows) {
        let row = row?;
        if room.bytes == 0 || (old.len() >= surplus && cutoff.is_none_or(|cutoff| row.at.as_millis() > cutoff)) {
            break;
        }
        room.bytes = room.bytes.saturating_sub(row.bytes as u64);
        old.push(row);
    }
    room.rows -= old.len();
    Ok(old)
}

/// How many of `count` rows are too many, at most as many as one batch has room for.
fn surplus(count: u64, keep: Keep, room: usize) -> usize {
    usize::try_from(count.saturating_sub(keep.count)).unwrap_or(usize::MAX).min(room)
}

/// Checks the jobs of this home.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.dead_letters.range((0, 0, 0)..=(u32::MAX, u64::MAX, u64::MAX))? {
        let (key, row) = row?;
        let (queue, at, id) = key.value();
        check_job(verifier, queue, id, Place::Dead { at: Timestamp::from_millis(at) }, row.value())?;
    }
    for row in verifier.finished.range((0, 0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX, u64::MAX))? {
        let (key, row) = row?;
        let (queue, state, at, id) = key.value();
        let Some(state) = [State::Completed, State::Cancelled].into_iter().find(|known| *known as u8 == state) else {
            let queue = verifier.name(queue);
            verifier.problem(format!("job {id} of {queue} has ended in a state that does not exist"));
            continue;
        };
        check_job(verifier, queue, id, Place::Finished { state, at: Timestamp::from_millis(at) }, row.value())?;
    }
    Ok(())
}
