//! Streams in the file: entries are appended and removed, consumers pass them, and an entry becomes a job.
//!
//! Streams are tenants of the writer beside jobs. Their rows are here; where a consumer needs a job, the job goes through the
//! door in `life/` like any other.

mod append;
mod consumers;
mod entry_jobs;
mod prepared;
mod problems;
mod removal;
mod retention;

pub(super) use consumers::offset_at;
pub(crate) use prepared::PreparedEntry;
pub(super) use problems::problems;

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::ReadableTable;

use crate::error::Error;
use crate::job::{Record, StreamId, StreamRow};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;
use crate::time::Timestamp;

/// The keys of all entries of a stream from this offset on.
pub(in crate::storage) fn entries_from(stream: StreamId, from: u64) -> RangeInclusive<(u64, u64)> {
    (stream, from)..=(stream, u64::MAX)
}

/// The keys of all rows of a stream in `entry_keys`.
pub(in crate::storage) fn keys_of(stream: StreamId) -> Range<(u64, &'static str)> {
    (stream, "")..(stream + 1, "")
}

/// Reads an entry's row.
pub(in crate::storage) fn read_entry(offset: u64, row: &Bytes) -> Result<Record, Fault> {
    decode_record(TableName::Entries, offset, row)
}

/// Whether an entry is older than it may be, at this time of the age line. One that cannot be read is as old as those around it.
pub(in crate::storage) fn is_older(offset: u64, row: &Bytes, max_age: Duration, now: Timestamp) -> bool {
    let record = read_entry(offset, row).ok();
    let entry = record.and_then(|record| record.extra).and_then(|extra| extra.entry);
    entry.is_none_or(|entry| entry.age + max_age <= now)
}

impl Batch<'_> {
    /// Removes some rows from `entry_keys`, at most so many. Returns how many there were.
    fn remove_keys(&mut self, stream: StreamId, most: usize) -> Result<usize, Fault> {
        let keys = self.tables.entry_keys()?.range(keys_of(stream))?.take(most);
        let keys: Vec<String> = keys.map(|key| Ok(key?.0.value().1.to_owned())).collect::<Result<_, Fault>>()?;
        for key in &keys {
            self.touch();
            self.tables.entry_keys()?.remove((stream, key.as_str()))?;
        }
        Ok(keys.len())
    }

    /// A stream that must be there.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`].
    pub(in crate::storage) fn stream_that_is(&mut self, name: &Arc<str>) -> Result<&mut StreamRow, Error> {
        self.stream_mut(name)?.ok_or_else(|| Error::NoSuchStream { stream: name.to_string() })
    }
}
