//! The quarantine: rows that could not be read, kept with their tables, keys and bytes.
//!
//! Which rows get there, and what else changes then, is decided in `repair/`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;
use serde::Serialize;

use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, Order, QueueId, Record};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::untrusted::AsideValue;

/// What a reader has met that cannot be read. The writer checks it again, and moves it to the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// A job's record.
    Job(JobId),
    /// The entry of a group's head in the dispatch order.
    Head(QueueId, Order),
    /// A group's row.
    Group(QueueId, String),
    /// A schedule's row.
    Schedule(String),
    /// An entry of a stream.
    Entry(Arc<str>, u64),
}

/// A row in quarantine.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    pub number: u64,
    pub table: String,
    pub queue: Option<QueueId>,
    pub group: Option<String>,
    pub id: Option<JobId>,
    pub value: Bytes,
    pub why: String,
}

impl Aside {
    pub(in crate::storage) fn read(number: u64, row: &[u8]) -> Self {
        let unknown = Self {
            number,
            table: "quarantine".into(),
            queue: None,
            group: None,
            id: None,
            value: Bytes::copy_from_slice(row),
            why: "its own row in the quarantine is damaged".into(),
        };
        let Some((table, key, value)) = AsideValue::decode(row) else { return unknown };
        let value = Bytes::copy_from_slice(value);
        let name = TableName::of(table);
        let why = damage(name, &value);
        let aside = Self { table: table.into(), value, why, ..unknown };
        match name {
            Some(TableName::Index | TableName::Running) => Self { id: key_of(key), ..aside },
            Some(TableName::Groups | TableName::Rates | TableName::Circuits) => {
                let (queue, group) = key_of::<(QueueId, String)>(key).unzip();
                Self { queue, group: group.filter(|group| !group.is_empty()), ..aside }
            }
            // A schedule, a topic or a stream has no number: its name is in the quarantine's row as its key.
            Some(
                TableName::Schedules
                | TableName::Topics
                | TableName::Bindings
                | TableName::Streams
                | TableName::Entries,
            ) => aside,
            Some(TableName::Consumers) => Self { queue: key_of(key), ..aside },
            Some(TableName::Heads) => {
                Self { queue: key_of::<(QueueId, u8, u64)>(key).map(|(queue, ..)| queue), ..aside }
            }
            _ => {
                let (queue, id) = key_of(key).unzip();
                Self { queue, id, ..aside }
            }
        }
    }

    /// The table it lay in, if it is a job's record.
    fn job_table(&self) -> Option<TableName> {
        TableName::of(&self.table).filter(|table| table.has_jobs())
    }

    /// The job that it is, if it can be read after all.
    pub(in crate::storage) fn record(&self) -> Result<Option<(QueueId, JobId, Record)>, Fault> {
        let table = self.job_table();
        let (Some(table), Some(queue), Some(id)) = (table, self.queue, self.id) else { return Ok(None) };
        Ok(Some((queue, id, decode_record(table, id.get(), &self.value)?)))
    }
}

/// The queue of a row of the quarantine, if its key says one.
fn queue_of(row: &[u8]) -> Option<QueueId> {
    let (table, key, _) = AsideValue::decode(row)?;
    match TableName::of(table) {
        Some(TableName::Groups | TableName::Rates | TableName::Circuits) => {
            key_of::<(QueueId, String)>(key).map(|(queue, _)| queue)
        }
        Some(TableName::Heads) => key_of::<(QueueId, u8, u64)>(key).map(|(queue, ..)| queue),
        Some(table) if table.has_jobs() => key_of::<(QueueId, JobId)>(key).map(|(queue, _)| queue),
        _ => None,
    }
}

fn key_of<T: serde::de::DeserializeOwned>(key: &[u8]) -> Option<T> {
    codec::decode(TableName::Quarantine, 0, key).ok()
}

fn damage(table: Option<TableName>, value: &Bytes) -> String {
    let found = match table {
        Some(TableName::Heads) => return "it leads to no member of a group".into(),
        Some(table) if table.has_jobs() || table == TableName::Entries => {
            decode_record(TableName::Quarantine, 0, value).map(drop)
        }
        _ => codec::check(value),
    };
    match found {
        Err(Fault::Corrupt { detail, .. }) => detail,
        _ => "nothing: this build can read it".into(),
    }
}

impl Batch<'_> {
    /// Adds a row to the quarantine that was removed from its table, or that is about to be rewritten.
    pub(in crate::storage) fn quarantine_row_of(
        &mut self,
        table: TableName,
        key: &impl Serialize,
        row: &[u8],
        (queue, id): (Option<QueueId>, Option<JobId>),
    ) -> Result<(), Fault> {
        self.touch();
        let number = self.tables.quarantine()?.last()?.map_or(0, |(number, _)| number.value()) + 1;
        let value = AsideValue::encode(table.as_str(), &codec::encode(key), row);
        self.tables.quarantine()?.insert(number, value.as_slice())?;
        self.quarantined_rows += 1;
        let queue = queue.map(|queue| self.catalog().queue_name(queue));
        self.event(|| Event::RowQuarantined { number, table: table.as_str().into(), queue, id });
        Ok(())
    }

    /// How many rows of a queue are in the quarantine.
    pub(in crate::storage) fn count_quarantined_of(&mut self, queue: QueueId) -> Result<usize, Fault> {
        Ok(self.quarantined_of(queue, usize::MAX)?.len())
    }

    /// Removes the rows of a queue that is removed, at most `rows_max` of them. Returns how many.
    pub(in crate::storage) fn remove_quarantined_of(
        &mut self,
        queue: QueueId,
        rows_max: usize,
    ) -> Result<usize, Fault> {
        let numbers = self.quarantined_of(queue, rows_max)?;
        for number in &numbers {
            self.purge_quarantined(*number)?;
        }
        Ok(numbers.len())
    }

    /// The numbers of the rows of a queue in the quarantine, at most `rows_max` of them. Nothing else says which rows are the
    /// queue's, so all are looked at: damage is rare.
    fn quarantined_of(&mut self, queue: QueueId, rows_max: usize) -> Result<Vec<u64>, Fault> {
        let mut numbers = Vec::new();
        for row in self.tables.quarantine()?.iter()? {
            let (number, row) = row?;
            if queue_of(row.value()) == Some(queue) && numbers.len() < rows_max {
                numbers.push(number.value());
            }
        }
        Ok(numbers)
    }

    /// Deletes a row of the quarantine.
    pub fn purge_quarantined(&mut self, number: u64) -> Result<bool, Fault> {
        let was = self.tables.quarantine()?.remove(number)?.is_some();
        if was {
            self.touch();
        }
        Ok(was)
    }

    /// The answer for a job that is nowhere.
    pub fn missing(&mut self, id: JobId) -> Error {
        let rows = self.tables.quarantine().and_then(|table| Ok(table.iter()?));
        match rows.and_then(|rows| find_job(rows, id)) {
            Ok(None) => Error::NoSuchJob { id },
            Ok(Some(fault)) | Err(fault) => fault.into(),
        }
    }
}

/// The job's record among rows in quarantine, as the fault that brought it there.
fn find_job(rows: redb::Range<'_, u64, AsideValue>, id: JobId) -> Result<Option<Fault>, Fault> {
    for row in rows {
        let (number, row) = row?;
        // Only the row of this job is copied.
        let key = AsideValue::decode(row.value()).and_then(|(_, key, _)| key_of::<(QueueId, JobId)>(key));
        if key.is_none_or(|(_, of)| of != id) {
            continue;
        }
        let aside = Aside::read(number.value(), row.value());
        if let Some(table) = aside.job_table().filter(|_| aside.id == Some(id)) {
            return Ok(Some(Fault::corrupt(table, id.get(), aside.why)));
        }
    }
    Ok(None)
}

impl Reader {
    /// Whether a job that is in no table of jobs is in the quarantine.
    pub(in crate::storage) fn missing(&self, id: JobId) -> Result<(), Fault> {
        let rows = self.tables().quarantine()?;
        find_job(rows.iter()?, id)?.map_or(Ok(()), Err)
    }

    /// How many rows are in quarantine.
    pub fn quarantined(&self) -> Result<u64, Fault> {
        use redb::ReadableTableMetadata;
        Ok(self.tables().quarantine()?.len()?)
    }

    /// The rows behind number `after`, oldest first.
    pub fn quarantine(&self, after: u64, rows_max: usize, bytes_max: usize) -> Result<Vec<Aside>, Fault> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for row in self.tables().quarantine()?.range(after.saturating_add(1)..)?.take(rows_max) {
            let (number, row) = row?;
            let aside = Aside::read(number.value(), row.value());
            bytes += aside.value.len();
            rows.push(aside);
            if bytes >= bytes_max {
                break;
            }
        }
        Ok(rows)
    }

    /// The jobs whose rows are in the quarantine.
    pub(in crate::storage) fn quarantined_jobs(&self) -> Result<HashSet<JobId>, Fault> {
        let mut jobs = HashSet::new();
        for row in self.tables().quarantine()?.iter()? {
            let (number, row) = row?;
            jobs.extend(Aside::read(number.value(), row.value()).id);
        }
        Ok(jobs)
    }
}
