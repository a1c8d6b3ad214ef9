//! Jobs that have ended: the dead letters, and what retention keeps of the others.

use redb::ReadableTable;

use super::batch::Batch;
use super::codec::{decode_record, encode_record};
use super::fault::Fault;
use super::place::Place;
use super::tables_ext::RowTable;
use crate::job::{JobId, Keep, QueueId, Record, State};
use crate::time::Timestamp;

/// What a sweep may still remove in this batch.
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
    /// Keeps an ended job, in the dead letters or among the finished. It has left its old place.
    pub fn keep_ended(&mut self, queue: QueueId, id: JobId, record: &Record) -> Result<(), Fault> {
        self.touch();
        // Its age counts from here. When it ended by the wall clock, which may be wrong, stands in its record.
        let at = self.now.age;
        let bytes = encode_record(record);
        self.moved(bytes.len());
        let state = record.state;
        let tally = self.tally(queue);
        match state {
            State::Dead => tally.dead += 1,
            State::Cancelled => tally.cancelled += 1,
            _ => tally.completed += 1,
        }
        if state == State::Dead {
            self.tables.dead_letters()?.insert((queue, at.as_millis(), id.get()), &*bytes)?;
            self.index(id, queue, Place::Dead { at })
        } else {
            let key = (queue, state as u8, at.as_millis(), id.get());
            self.tables.finished()?.insert(key, &*bytes)?;
            self.index(id, queue, Place::Finished { state, at })
        }
    }

    pub fn dead_letter(&mut self, queue: QueueId, id: JobId, at: Timestamp) -> Result<Option<Record>, Fault> {
        let row = self.tables.dead_letters()?.get_row((queue, at.as_millis(), id.get()))?;
        row.map(|row| decode_record("dead_letters", id.get(), &row)).transpose()
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

    /// Returns how many bytes its row had, `None` if there was none.
    pub fn remove_dead_letter(&mut self, queue: QueueId, id: JobId, at: Timestamp) -> Result<Option<usize>, Fault> {
        self.touch();
        let was = self.tables.dead_letters()?.remove((queue, at.as_millis(), id.get()))?.map(|row| row.value().len());
        if was.is_some() {
            self.unindex(id)?;
            let tally = self.tally(queue);
            tally.dead = tally.dead.saturating_sub(1);
        }
        Ok(was)
    }

    /// Removes what retention no longer keeps of one queue, as long as there is room. Returns how many jobs that were.
    pub fn prune(&mut self, queue: QueueId, room: &mut SweepRoom) -> Result<u64, Fault> {
        let row = self.queue(queue);
        let keep = row.settings.retention;
        let mut removed = 0;
        for (state, count, keep) in [
            (State::Completed, row.tally.completed, keep.completed),
            (State::Cancelled, row.tally.cancelled, keep.cancelled),
        ] {
            let (surplus, cutoff) = (surplus(count, keep, room.rows), self.cutoff(keep));
            let range = (queue, state as u8, 0, 0)..=(queue, state as u8, u64::MAX, u64::MAX);
            let rows = self.tables.finished()?.range(range)?.map(|row| {
                let (key, value) = row?;
                let (_, _, at, id) = key.value();
                Ok((at, id, value.value().len()))
            });
            for (at, id) in oldest(rows, surplus, cutoff, room)? {
                self.tables.finished()?.remove((queue, state as u8, at, id))?;
                self.unindex(JobId::new(id))?;
                let tally = self.tally(queue);
                let count = if state == State::Completed { &mut tally.completed } else { &mut tally.cancelled };
                *count = count.saturating_sub(1);
                removed += 1;
            }
        }
        let (surplus, cutoff) = (surplus(row.tally.dead, keep.dead, room.rows), self.cutoff(keep.dead));
        let rows = self.tables.dead_letters()?.range((queue, 0, 0)..=(queue, u64::MAX, u64::MAX))?.map(|row| {
            let (key, value) = row?;
            let (_, at, id) = key.value();
            Ok((at, id, value.value().len()))
        });
        for (at, id) in oldest(rows, surplus, cutoff, room)? {
            self.remove_dead_letter(queue, JobId::new(id), Timestamp::from_millis(at))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// What was kept since then or longer is too old. Nothing is, if as much time has not passed yet.
    fn cutoff(&self, keep: Keep) -> Option<u64> {
        self.now.age.as_millis().checked_sub(u64::try_from(keep.age.as_nanos().div_ceil(1_000_000)).ok()?)
    }
}

/// The first of these rows that are to be removed, as long as there is room: when they were kept, and their jobs. A row
/// comes with its size.
fn oldest(
    rows: impl Iterator<Item = Result<(u64, u64, usize), Fault>>,
    surplus: usize,
    cutoff: Option<u64>,
    room: &mut SweepRoom,
) -> Result<Vec<(u64, u64)>, Fault> {
    let mut old = Vec::new();
    for row in rows.take(room.rows) {
        let (at, id, bytes) = row?;
        if room.bytes == 0 || (old.len() >= surplus && cutoff.is_none_or(|cutoff| at > cutoff)) {
            break;
        }
        room.bytes = room.bytes.saturating_sub(bytes as u64);
        old.push((at, id));
    }
    room.rows -= old.len();
    Ok(old)
}

/// How many of `count` rows are too many, as far as one batch goes.
fn surplus(count: u64, keep: Keep, room: usize) -> usize {
    usize::try_from(count.saturating_sub(keep.count)).unwrap_or(usize::MAX).min(room)
}
