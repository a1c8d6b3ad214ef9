//! Facet: when jobs expire that have not started. An index of the waiting jobs that have an expiry.
//!
//! A job's row is written with the job. It is removed when the job has ended, or once its record says that it has
//! started: from then on it does not expire. While a handler has the job for the first time, the row stays.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use redb::ReadableTable;

use super::moved::{Moved, Side};
use super::verifier::Verifier;
use crate::job::{JobId, QueueId, Record};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::expiry::{NextExpiry, NotedExpiries};
use crate::storage::rows::fault::Fault;
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

/// The row is there while the job has not started. A job that is back from a handler can have expired meanwhile.
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

    /// Removes a row that leads to no job that expires then.
    pub(super) fn expires_not(&mut self, expiring: Expiring) -> Result<(), Fault> {
        if self.tables.expiring()?.remove(expiring.key())?.is_some() {
            self.touch();
            tracing::debug!(job = %expiring.id, "a row in the index of expiries led to no job that expires then");
        }
        Ok(())
    }

    /// Notes that all expiries that have passed were checked, except those from `left` on.
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
}

// --- verification ---

/// Notes when a job that was read expires.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, id: u64, record: &Record) {
    if let Some(due) = record.expiry() {
        verifier.expiries.insert(JobId::new(id), (queue, due));
    }
}

/// Compares the index with when the jobs that were read expire. Of jobs that cannot be read nothing is known.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut waiting = std::mem::take(&mut verifier.expiries);
    for row in verifier.tables().expiring()?.iter()? {
        let key = row?.0.value();
        let Expiring { id, .. } = Expiring::read(key);
        let expected = waiting.get(&id).map(|&(queue, due)| Expiring { due, queue, id }.key());
        if expected == Some(key) {
            waiting.remove(&id);
        } else if !verifier.unread.contains(&id) {
            verifier.problem(format!("the index of expiries has job {id} at {key:?}, where it does not expire"));
        }
    }
    for id in waiting.keys() {
        verifier.problem(format!("job {id} is not in the index of expiries"));
    }
    Ok(())
}

/// Makes the index agree with the records, if it does not. Reads all jobs that wait.
pub(super) fn rebuild(batch: &mut Batch<'_>) -> Result<(), Fault> {
    let mut expected = BTreeSet::new();
    let mut see = |queue: QueueId, id: u64, row: &[u8]| {
        let record = decode_record(TableName::Ready, id, &Bytes::copy_from_slice(row)).ok();
        let due = record.and_then(|record| record.expiry());
        expected.extend(due.map(|due| Expiring { due, queue, id: JobId::new(id) }.key()));
    };
    batch.see_waiting(&mut see)?;
    let mut wrong = Vec::new();
    for row in batch.tables.expiring()?.iter()? {
        let key = row?.0.value();
        if !expected.remove(&key) {
            wrong.push(key);
        }
    }
    for key in wrong {
        batch.touch();
        batch.tables.expiring()?.remove(key)?;
    }
    for key in expected {
        batch.touch();
        batch.tables.expiring()?.insert(key, ())?;
    }
    Ok(())
}
