//! When jobs expire that have not started: an index of the waiting jobs that have an expiry.
//!
//! A job's row is written with the job. It goes when the job has left, or once its record says that it has started:
//! from then on it does not expire. While a handler has the job for the first time its row stays.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use redb::ReadableTable;

use crate::job::{JobId, QueueId, Record};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::expiry::{NextExpiry, NotedExpiries};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place, is_pointer};
use crate::storage::rows::reader::Reader;
use crate::storage::rows::tables::ExpiringKey;
use crate::time::{Due, TimeLine, Timestamp};

/// The lines that an expiry may lie on.
const LINES: [TimeLine; 2] = [TimeLine::Wall, TimeLine::Age];

/// A row of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiring {
    pub due: Due,
    pub queue: QueueId,
    pub id: JobId,
}

impl Expiring {
    fn key(self) -> ExpiringKey {
        let Self { due, queue, id } = self;
        (due.line as u8, due.at.as_millis(), queue, id.get())
    }

    fn read((line, at, queue, id): ExpiringKey) -> Self {
        // A row whose line is damaged leads to no job that expires then.
        let line = if line == TimeLine::Wall as u8 { TimeLine::Wall } else { TimeLine::Age };
        Self { due: Due { line, at: Timestamp::from_millis(at) }, queue, id: JobId::new(id) }
    }
}

impl Batch<'_> {
    /// A job is stored.
    pub(in crate::storage) fn index_expiry(&mut self, queue: QueueId, id: JobId, record: &Record) -> Result<(), Fault> {
        let Some(due) = record.expiry() else { return Ok(()) };
        self.tables.expiring()?.insert(Expiring { due, queue, id }.key(), ())?;
        self.expiries.next.add(due);
        Ok(())
    }

    /// A job whose record was this one has left, or has started.
    pub(in crate::storage) fn unindex_expiry(
        &mut self,
        queue: QueueId,
        id: JobId,
        record: &Record,
    ) -> Result<(), Fault> {
        let Some(due) = record.expiry() else { return Ok(()) };
        self.tables.expiring()?.remove(Expiring { due, queue, id }.key())?;
        Ok(())
    }

    /// A job that was handed out is back at its place: its expiry may have passed meanwhile.
    pub(in crate::storage) fn expires_again(&mut self, record: &Record) {
        record.expiry().into_iter().for_each(|due| self.expiries.next.add(due));
    }

    /// Jobs whose expiry on this line has passed, the earliest first: at most `rows_max` behind `after`.
    pub fn passed_expiries(
        &mut self,
        line: TimeLine,
        after: Option<Expiring>,
        rows_max: usize,
    ) -> Result<Vec<Expiring>, Fault> {
        let from = after.map_or(Bound::Included((line as u8, 0, 0, 0)), |after| Bound::Excluded(after.key()));
        let to = Bound::Included((line as u8, self.now.on(line).as_millis(), u32::MAX, u64::MAX));
        let rows = self.tables.expiring()?.range((from, to))?.take(rows_max);
        rows.map(|row| Ok(Expiring::read(row?.0.value()))).collect()
    }

    /// Takes a job out of wherever it waits that expires. Returns its record and how many bytes it took; nothing if no
    /// such job waits there. Its key is held for the rest of its time, as after any other end.
    pub fn take_expired(&mut self, expiring: Expiring) -> Result<Option<(Record, usize)>, Fault> {
        let Expiring { due, queue, id } = expiring;
        let Some((place, row)) = self.waits_at(queue, id)? else { return self.expires_not(expiring) };
        match decode_record(place.table(), id.get(), &row) {
            Ok(record) if record.expiry() == Some(due) => {}
            Ok(_) => return self.expires_not(expiring),
            Err(_) => {
                self.quarantine_job(id)?;
                return self.expires_not(expiring);
            }
        }
        let Some(record) = self.take_waiting(queue, id, &place, false)? else { return self.expires_not(expiring) };
        self.end_key(queue, id, &record)?;
        Ok(Some((record, row.len())))
    }

    /// The row leads nowhere.
    fn expires_not<T>(&mut self, expiring: Expiring) -> Result<Option<T>, Fault> {
        if self.tables.expiring()?.remove(expiring.key())?.is_some() {
            self.touch();
            tracing::debug!(job = %expiring.id, "a row in the index of expiries led to no job that expires then");
        }
        Ok(None)
    }

    /// The place and the row of a job of this queue that has not ended.
    fn waits_at(&mut self, queue: QueueId, id: JobId) -> Result<Option<(Place, Bytes)>, Fault> {
        let Some(Location { queue: of, place }) = self.locate_in(queue, id)? else { return Ok(None) };
        let ended = matches!(place, Place::Dead { .. } | Place::Finished { .. });
        let row = if of == queue && !ended { self.row_at(queue, id, &place)? } else { None };
        Ok(row.map(|row| (place, row)))
    }

    /// All that has passed was looked at, but for what lies from `left` on.
    pub fn looked_at_expiries(&mut self, left: Option<Expiring>) -> Result<(), Fault> {
        let mut next = NextExpiry::default();
        left.into_iter().for_each(|left| next.add(left.due));
        for line in LINES {
            let passed = Bound::Excluded((line as u8, self.now.on(line).as_millis(), u32::MAX, u64::MAX));
            let to = Bound::Included((line as u8, u64::MAX, u32::MAX, u64::MAX));
            if let Some(row) = self.tables.expiring()?.range((passed, to))?.next() {
                next.add(Expiring::read(row?.0.value()).due);
            }
        }
        self.expiries = NotedExpiries { next, of_all: true };
        Ok(())
    }

    /// Makes the index what follows from the records, if it is not. It goes through all jobs that wait.
    pub(in crate::storage) fn mend_expiries(&mut self) -> Result<(), Fault> {
        let mut expected = BTreeSet::new();
        let mut see = |queue: QueueId, id: u64, row: &[u8]| {
            let record = decode_record("record", id, &Bytes::copy_from_slice(row)).ok();
            let due = record.and_then(|record| record.expiry());
            expected.extend(due.map(|due| Expiring { due, queue, id: JobId::new(id) }.key()));
        };
        for row in self.tables.ready()?.iter()? {
            let (key, row) = row?;
            let (queue, _, id) = key.value();
            see(queue, id, row.value());
        }
        for row in self.tables.delayed()?.iter()? {
            let (key, row) = row?;
            let (queue, _, _, id) = key.value();
            if !is_pointer(row.value()) {
                see(queue, id, row.value());
            }
        }
        for row in self.tables.members()?.iter()? {
            let (key, row) = row?;
            let (queue, .., id) = key.value();
            see(queue, id, row.value());
        }
        let mut wrong = Vec::new();
        for row in self.tables.expiring()?.iter()? {
            let key = row?.0.value();
            if !expected.remove(&key) {
                wrong.push(key);
            }
        }
        for key in wrong {
            self.touch();
            self.tables.expiring()?.remove(key)?;
        }
        for key in expected {
            self.touch();
            self.tables.expiring()?.insert(key, ())?;
        }
        Ok(())
    }
}

impl Reader {
    /// When the next job expires.
    pub fn next_expiry(&self) -> Result<NextExpiry, Fault> {
        let table = self.tables().expiring()?;
        let mut next = NextExpiry::default();
        for line in LINES {
            let line = line as u8;
            if let Some(row) = table.range((line, 0, 0, 0)..=(line, u64::MAX, u32::MAX, u64::MAX))?.next() {
                next.add(Expiring::read(row?.0.value()).due);
            }
        }
        Ok(next)
    }

    /// What is wrong with the index, a sentence each. `waiting` are the jobs that expire, by their records; of those in
    /// `unread` nothing is known.
    pub(in crate::storage) fn expiry_problems(
        &self,
        mut waiting: HashMap<JobId, (QueueId, Due)>,
        unread: &HashSet<JobId>,
    ) -> Result<Vec<String>, Fault> {
        let mut problems = Vec::new();
        for row in self.tables().expiring()?.iter()? {
            let key = row?.0.value();
            let Expiring { id, .. } = Expiring::read(key);
            let expected = waiting.get(&id).map(|&(queue, due)| Expiring { due, queue, id }.key());
            if expected == Some(key) {
                waiting.remove(&id);
            } else if !unread.contains(&id) {
                problems.push(format!("the index of expiries has job {id} at {key:?}, where it does not expire"));
            }
        }
        let missing = waiting.keys().map(|id| format!("job {id} is not in the index of expiries"));
        problems.extend(missing);
        Ok(problems)
    }
}
