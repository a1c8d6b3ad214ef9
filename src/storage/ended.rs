//! Jobs that have ended: the dead letters, and what retention keeps of the others.

use redb::ReadableTable;

use super::batch::Batch;
use super::codec::{decode_record, encode_record};
use super::fault::Fault;
use super::place::Place;
use super::settings::Keep;
use super::tables_ext::RowTable;
use crate::job::{JobId, QueueId, Record, State};
use crate::time::Timestamp;

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expunged {
    pub dead: u64,
    pub others: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// It stopped at one of its limits: there may be more to remove.
    pub is_full: bool,
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

    /// Removes what retention no longer keeps of one queue, at most `rows_max` rows and about `bytes_max`.
    pub fn prune(&mut self, queue: QueueId, rows_max: usize, bytes_max: u64) -> Result<Expunged, Fault> {
        let row = self.queue(queue);
        let keep = row.settings.retention;
        let mut expunged = Expunged::default();
        let mut bytes_left = bytes_max;
        for (state, count, keep) in [
            (State::Completed, row.tally.completed, keep.completed),
            (State::Cancelled, row.tally.cancelled, keep.cancelled),
        ] {
            let room = rows_max - expunged.others as usize;
            let (surplus, cutoff) = (surplus(count, keep, room), self.cutoff(keep));
            for (at, id) in self.oldest_finished(queue, state, surplus, cutoff, room, &mut bytes_left)? {
                self.tables.finished()?.remove((queue, state as u8, at, id))?;
                self.unindex(JobId::new(id))?;
                let tally = self.tally(queue);
                let count = if state == State::Completed { &mut tally.completed } else { &mut tally.cancelled };
                *count = count.saturating_sub(1);
                expunged.others += 1;
            }
        }
        let room = rows_max - expunged.others as usize;
        let (surplus, cutoff) = (surplus(row.tally.dead, keep.dead, room), self.cutoff(keep.dead));
        for (at, id) in self.oldest_dead(queue, surplus, cutoff, room, &mut bytes_left)? {
            self.remove_dead_letter(queue, JobId::new(id), Timestamp::from_millis(at))?;
            expunged.dead += 1;
        }
        expunged.bytes = bytes_max - bytes_left;
        expunged.is_full = bytes_left == 0 || (expunged.dead + expunged.others) as usize >= rows_max;
        Ok(expunged)
    }

    /// What was kept since then or longer is too old. Nothing is, if as much time has not passed yet.
    fn cutoff(&self, keep: Keep) -> Option<u64> {
        self.now.age.as_millis().checked_sub(u64::try_from(keep.age.as_nanos().div_ceil(1_000_000)).ok()?)
    }

    fn oldest_finished(
        &mut self,
        queue: QueueId,
        state: State,
        surplus: usize,
        cutoff: Option<u64>,
        room: usize,
        bytes_left: &mut u64,
    ) -> Result<Vec<(u64, u64)>, Fault> {
        let state = state as u8;
        let mut old = Vec::new();
        let range = (queue, state, 0, 0)..=(queue, state, u64::MAX, u64::MAX);
        for row in self.tables.finished()?.range(range)?.take(room) {
            let (key, value) = row?;
            let (_, _, at, id) = key.value();
            if *bytes_left == 0 || (old.len() >= surplus && cutoff.is_none_or(|cutoff| at > cutoff)) {
                break;
            }
            *bytes_left = bytes_left.saturating_sub(value.value().len() as u64);
            old.push((at, id));
        }
        Ok(old)
    }

    fn oldest_dead(
        &mut self,
        queue: QueueId,
        surplus: usize,
        cutoff: Option<u64>,
        room: usize,
        bytes_left: &mut u64,
    ) -> Result<Vec<(u64, u64)>, Fault> {
        let mut old = Vec::new();
        for row in self.tables.dead_letters()?.range((queue, 0, 0)..=(queue, u64::MAX, u64::MAX))?.take(room) {
            let (key, value) = row?;
            let (_, at, id) = key.value();
            if *bytes_left == 0 || (old.len() >= surplus && cutoff.is_none_or(|cutoff| at > cutoff)) {
                break;
            }
            *bytes_left = bytes_left.saturating_sub(value.value().len() as u64);
            old.push((at, id));
        }
        Ok(old)
    }
}

/// How many of `count` rows are too many, as far as one batch goes.
fn surplus(count: u64, keep: Keep, room: usize) -> usize {
    usize::try_from(count.saturating_sub(keep.count)).unwrap_or(usize::MAX).min(room)
}
