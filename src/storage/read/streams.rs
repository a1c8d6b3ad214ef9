//! Reads streams, entries and consumers.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::{ConsumerRow, QueueId, Record, Start, StreamId, StreamRow, StreamSettings};
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::streams::{entries_from, is_older, keys_of, offset_at, read_entry};
use crate::time::Timestamp;

/// Some entries of a stream.
#[derive(Default)]
pub(crate) struct EntryPage {
    pub entries: Vec<ReadEntry>,
    /// The offset behind the last one that was looked at.
    pub next: u64,
    /// Entries that cannot be read.
    pub damaged: Vec<u64>,
}

/// An entry that was read.
pub(crate) struct ReadEntry {
    pub offset: u64,
    /// The length of its row.
    pub bytes: usize,
    pub record: Record,
}

impl Reader {
    /// The stream of this name.
    pub fn stream(&self, name: &str) -> Result<Option<StreamRow>, Fault> {
        let row = self.tables().streams()?.get_row(name)?;
        row.map(|row| codec::decode(TableName::Streams, 0, &row)).transpose()
    }

    /// The streams behind this name, in the order of their names. One whose row cannot be read is left out.
    pub fn streams(&self, after: &str, limit: usize) -> Result<Vec<(String, StreamRow)>, Fault> {
        let mut streams = Vec::new();
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        for row in self.tables().streams()?.range::<&str>(from)?.take(limit) {
            let (name, row) = row?;
            streams.extend(
                codec::decode(TableName::Streams, 0, row.value()).ok().map(|row| (name.value().to_owned(), row)),
            );
        }
        Ok(streams)
    }

    /// The consumer of this queue.
    pub fn consumer(&self, queue: QueueId) -> Result<Option<ConsumerRow>, Fault> {
        let row = self.tables().consumers()?.get_row(queue)?;
        row.map(|row| codec::decode(TableName::Consumers, u64::from(queue), &row)).transpose()
    }

    /// All consumers, of this stream if one is given. One whose row cannot be read is left out.
    pub fn consumers(&self, stream: Option<&str>) -> Result<Vec<(QueueId, ConsumerRow)>, Fault> {
        let mut consumers = Vec::new();
        for row in self.tables().consumers()?.iter()? {
            let (queue, row) = row?;
            if let Ok(row) = codec::decode::<ConsumerRow>(TableName::Consumers, 0, row.value())
                && stream.is_none_or(|stream| *row.stream == *stream)
            {
                consumers.push((queue.value(), row));
            }
        }
        consumers.sort_by(|(_, a), (_, b)| (&a.stream, &a.name).cmp(&(&b.stream, &b.name)));
        Ok(consumers)
    }

    /// The entries of a stream from this offset on, until there are `limit` or `bytes_max` were read.
    pub fn entries(&self, stream: StreamId, from: u64, limit: usize, bytes_max: usize) -> Result<EntryPage, Fault> {
        let mut rows: Vec<(u64, usize)> = Vec::new();
        let (mut bytes, mut page) = (Vec::new(), EntryPage { next: from, ..EntryPage::default() });
        for row in self.tables().entries()?.range(entries_from(stream, from))? {
            if rows.len() >= limit || (bytes.len() >= bytes_max && !rows.is_empty()) {
                break;
            }
            let (key, value) = row?;
            bytes.extend_from_slice(value.value());
            rows.push((key.value().1, bytes.len()));
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        for (offset, end) in rows {
            match read_entry(offset, &bytes.slice(start..end)) {
                Ok(record) => page.entries.push(ReadEntry { offset, bytes: end - start, record }),
                Err(_) => page.damaged.push(offset),
            }
            page.next = offset + 1;
            start = end;
        }
        Ok(page)
    }

    /// The offset with which a reader begins that starts here.
    pub fn first_entry_at(&self, row: &StreamRow, start: Start) -> Result<u64, Fault> {
        match self.tables().entries()?.table() {
            Some(entries) => offset_at(entries, row, start),
            // It never had an entry.
            None => Ok(row.next),
        }
    }

    /// Whether a sweep would remove something of a stream, at this time of the age line.
    pub fn is_beyond_limits(&self, row: &StreamRow, now: Timestamp) -> Result<bool, Fault> {
        let StreamSettings { max_age, compact, .. } = row.settings;
        if row.settings.are_exceeded_by(row.entries, row.bytes) || (compact && row.compacted_to < row.next) {
            return Ok(true);
        }
        if !compact && self.tables().entry_keys()?.range(keys_of(row.number))?.next().is_some() {
            return Ok(true);
        }
        let Some(max_age) = max_age else { return Ok(false) };
        let Some(first) = self.tables().entries()?.range(entries_from(row.number, row.first))?.next() else {
            return Ok(false);
        };
        let (key, value) = first?;
        Ok(is_older(key.value().1, &Bytes::copy_from_slice(value.value()), max_age, now))
    }

    /// Which of these groups of a queue have jobs, or are held.
    pub fn groups_in_use(&self, queue: QueueId, groups: HashSet<Arc<str>>) -> Result<HashSet<Arc<str>>, Fault> {
        let table = self.tables().groups()?;
        if table.range((queue, "")..(queue + 1, ""))?.next().is_none() {
            return Ok(HashSet::new());
        }
        let mut used = HashSet::new();
        for group in groups {
            if table.has((queue, &*group))? {
                used.insert(group);
            }
        }
        Ok(used)
    }
}
