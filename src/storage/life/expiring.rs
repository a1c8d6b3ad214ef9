//! Facet: when jobs expire that have not started. An index of the waiting jobs that have an expiry.
//!
//! A job's row is written with the job. It goes when the job has left, or once its record says that it has started:
//! from then on it does not expire. While a handler has the job for the first time its row stays.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;
use redb::ReadableTable;

use super::moved::{Moved, Side};
use crate::job::{JobId, QueueId};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::expiry::{NextExpiry, NotedExpiries};
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::is_pointer;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
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

/// The job's row is there while it has not started. One that is back from a handler may have expired meanwhile.
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) -> Result<(), Fault> {
    let expires = |side: &Option<Side<'_>>| side.as_ref().and_then(|side| side.unfinished()?.expiry());
    let (was, is) = (expires(&moved.from), expires(&moved.to));
    let Moved { queue, id, .. } = *moved;
    if was != is {
        if let Some(due) = was {
            batch.tables.expiring()?.remove(Expiring { due, queue, id }.key())?;
        }
        if let Some(due) = is {
            batch.tables.expiring()?.insert(Expiring { due, queue, id }.key(), ())?;
        }
    }
    if let Some(due) = is {
        batch.expiries.next.add(due);
    }
    Ok(())
}

impl Batch<'_> {
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

    /// The row leads nowhere.
    pub(super) fn expires_not(&mut self, expiring: Expiring) -> Result<(), Fault> {
        if self.tables.expiring()?.remove(expiring.key())?.is_some() {
            self.touch();
            tracing::debug!(job = %expiring.id, "a row in the index of expiries led to no job that expires then");
        }
        Ok(())
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
            let record = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row)).ok();
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
