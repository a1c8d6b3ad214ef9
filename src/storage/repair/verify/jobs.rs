//! Verification of the five tables that hold jobs.

use super::Verifier;
use crate::job::{JobId, QueueId, Record, State};
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place, is_pointer};
use crate::storage::rows::table_name::TableName;
use crate::time::{Due, TimeLine, Timestamp};
use bytes::Bytes;

impl Verifier {
    /// Checks all of them but the members of groups.
    pub(in crate::storage) fn jobs(&mut self) -> Result<(), Fault> {
        let all = (0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX);
        for row in self.ready.range(all)? {
            let (key, row) = row?;
            let (queue, priority, id) = key.value();
            self.job(queue, id, Place::Ready { priority }, row.value())?;
        }
        let all = (0, 0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX, u64::MAX);
        for row in self.delayed.range(all.clone())? {
            let (key, row) = row?;
            let (queue, line, at, id) = key.value();
            let Some(line) = time_line(line) else {
                let queue = self.name(queue);
                self.problem(format!("job {id} of {queue} is delayed on a time line that does not exist"));
                continue;
            };
            let due = Due { line, at: Timestamp::from_millis(at) };
            match is_pointer(row.value()) {
                true => self.pointer(queue, id, due)?,
                false => drop(self.job(queue, id, Place::Delayed { due }, row.value())?),
            }
        }
        for row in self.other.dead_letters.range((0, 0, 0)..=(u32::MAX, u64::MAX, u64::MAX))? {
            let (key, row) = row?;
            let (queue, at, id) = key.value();
            self.job(queue, id, Place::Dead { at: Timestamp::from_millis(at) }, row.value())?;
        }
        for row in self.other.finished.range(all)? {
            let (key, row) = row?;
            let (queue, state, at, id) = key.value();
            let Some(state) = [State::Completed, State::Cancelled].into_iter().find(|known| *known as u8 == state)
            else {
                let queue = self.name(queue);
                self.problem(format!("job {id} of {queue} has ended in a state that does not exist"));
                continue;
            };
            self.job(queue, id, Place::Finished { state, at: Timestamp::from_millis(at) }, row.value())?;
        }
        Ok(())
    }

    /// Checks the row of one job at its place. Returns the record if it can be read.
    pub(in crate::storage) fn job(
        &mut self,
        queue: QueueId,
        id: u64,
        place: Place,
        row: &[u8],
    ) -> Result<Option<Record>, Fault> {
        self.work.rows += 1;
        self.found.jobs += 1;
        if !self.seen.insert(id) {
            self.problem(format!("job {id} is in two places"));
        }
        if id >= self.counters.next_id {
            self.problem(format!("there is a job {id}, but the next id would be {}", self.counters.next_id));
        }
        let is_ready = matches!(place, Place::Ready { .. });
        match self.indexed(id)? {
            Ok(None) if is_ready => {}
            Ok(Some(_)) if is_ready => self.problem(format!("job {id} is ready, but the index has an entry for it")),
            Ok(Some(found)) if (found.queue, &found.place) == (queue, &place) => {}
            Ok(_) => self.problem(format!("the index does not lead to job {id}")),
            // An entry that cannot be read is reported with the index.
            Err(_) => {}
        }
        let table = place.table();
        let record = match decode_record(table, id, &Bytes::copy_from_slice(row)) {
            Ok(record) => record,
            Err(fault) => {
                self.unread.insert(JobId::new(id));
                self.unreadable(fault);
                return Ok(None);
            }
        };
        if let Some(wrong) = self.misplaced(&record, &place) {
            self.problem(format!("job {id} is in {:?}, but {wrong}", table.as_str()));
        }
        let tally = self.tallies.entry(queue).or_default();
        let state = match &place {
            Place::Ready { .. } => State::Pending,
            Place::Dead { .. } => State::Dead,
            Place::Finished { state, .. } => *state,
            Place::Delayed { .. } | Place::Member(_) => record.state,
        };
        *tally.count_mut(state) += 1;
        if !state.is_final() {
            tally.bytes += row.len() as u64;
            if let Some(key) = record.unique_key() {
                self.key_of(queue, id, key, &record)?;
            }
            if let Some(due) = record.expiry() {
                self.expiries.insert(JobId::new(id), (queue, due));
            }
        }
        Ok(Some(record))
    }

    /// Says how the record contradicts its place, if it does.
    fn misplaced(&self, record: &Record, place: &Place) -> Option<String> {
        let fits = match place {
            // A ready job is pending, whatever its record says of an earlier wait.
            Place::Ready { .. } => !record.state.is_final(),
            Place::Delayed { .. } => matches!(record.state, State::Scheduled | State::Retrying),
            Place::Member(_) => matches!(record.state, State::Pending | State::Scheduled | State::Retrying),
            Place::Dead { .. } => record.state == State::Dead,
            Place::Finished { state, .. } => record.state == *state,
        };
        if !fits {
            return Some(format!("its record says {:?}", record.state));
        }
        let group = record.group();
        match place {
            Place::Ready { priority } if *priority != record.priority.get() => {
                return Some(format!("has priority {priority} there and {} in its record", record.priority.get()));
            }
            Place::Ready { .. } | Place::Delayed { .. } if group.is_some() => {
                return Some(format!("its record has group {:?}", group.map(|group| &**group).unwrap_or_default()));
            }
            Place::Member(member) if group != Some(&member.group) => {
                return Some(format!("its record does not have group {:?}", &*member.group));
            }
            _ => {}
        }
        (!self.kinds.contains(&record.kind)).then(|| format!("its kind, number {}, has no name", record.kind))
    }

    /// Checks that a pointer belongs to a member of a group that waits until this time.
    fn pointer(&mut self, queue: QueueId, id: u64, due: Due) -> Result<(), Fault> {
        self.work.rows += 1;
        let member = match self.indexed(id)? {
            Ok(Some(Location { queue: of, place: Place::Member(member) })) if of == queue => Some(member),
            Ok(_) => None,
            Err(_) => return Ok(()),
        };
        let waits = match member {
            Some(member) if member.parked => {
                self.work.lookups += 1;
                let row = self.members.get(member.key(queue, JobId::new(id)))?;
                let record = row.map(|row| decode_record(TableName::Members, id, &Bytes::copy_from_slice(row.value())));
                // A record that cannot be read is reported with the members.
                record.is_some_and(|record| record.map_or(true, |record| record.due() == Some(due)))
            }
            Some(member) => self.head_waits_until(queue, &member.group, id, due)?,
            None => false,
        };
        if !waits && !self.unread.contains(&JobId::new(id)) {
            let queue = self.name(queue);
            self.problem(format!(
                "{queue} has a pointer to job {id} at {due:?}, but the job does not wait for that time"
            ));
        }
        Ok(())
    }
}

fn time_line(line: u8) -> Option<TimeLine> {
    [TimeLine::Wall, TimeLine::Engine].into_iter().find(|known| *known as u8 == line)
}
