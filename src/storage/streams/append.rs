//! Verbs: entries are appended, and a stream is made or configured.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use crate::error::Error;
use crate::job::{Appended, EntryOf, StreamId, StreamRow, StreamSettings, check_name};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::streams::PreparedEntry;

impl Batch<'_> {
    /// Appends entries to a stream, in this order. The stream is made if there is none of this name.
    pub fn append(&mut self, stream: &Arc<str>, entries: &mut [PreparedEntry]) -> Result<Appended, Error> {
        self.forgetting_names(|batch| {
            entries.iter_mut().try_for_each(|entry| batch.resolve_entry(entry))?;
            batch.append_resolved(stream, entries)
        })
    }

    /// The stream of this name, which is made if there is none.
    pub(super) fn stream_or_new(&mut self, name: &Arc<str>) -> Result<StreamRow, Error> {
        if let Some(row) = self.stream(name)? {
            return Ok(row.clone());
        }
        check_name("stream", name)?;
        Ok(self.make_stream(name)?)
    }

    /// Appends the same entry to each of these streams.
    pub fn append_to_each<'s>(
        &mut self,
        streams: impl Iterator<Item = &'s Arc<str>>,
        entry: Option<&mut PreparedEntry>,
    ) -> Result<Vec<EntryOf>, Error> {
        let Some(entry) = entry.map(std::slice::from_mut) else { return Ok(Vec::new()) };
        streams.map(|stream| Ok(EntryOf::new(stream.clone(), self.append(stream, entry)?.first))).collect()
    }

    fn append_resolved(&mut self, stream: &Arc<str>, entries: &[PreparedEntry]) -> Result<Appended, Error> {
        let row = self.stream_or_new(stream)?;
        let (number, first, compact) = (row.number, row.next, row.settings.compact);
        let mut offset = first;
        // They count before any of them is removed for a later one of its key.
        let row = self.stream_that_is(stream)?;
        row.entries += entries.len() as u64;
        row.bytes += entries.iter().map(|entry| entry.bytes.len() as u64).sum::<u64>();
        for entry in entries {
            self.has_stored(entry);
            self.arrive_entry(number, offset, entry.bytes.clone());
            if compact && let Some(key) = &entry.key {
                self.keep_latest(stream, number, key, offset)?;
            }
            offset += 1;
        }
        let row = self.stream_that_is(stream)?;
        if compact && row.compacted_to == first {
            row.compacted_to = offset;
        }
        row.next = offset;
        Ok(Appended::new(first, offset))
    }

    /// The entry at this offset is the latest of its key: the one before is removed.
    fn keep_latest(&mut self, stream: &Arc<str>, number: StreamId, key: &str, offset: u64) -> Result<(), Error> {
        let before = self.tables.entry_keys()?.insert((number, key), offset).map_err(Fault::from)?;
        let before = before.map(|before| before.value());
        if let Some(before) = before {
            self.remove_entry(stream, number, before)?;
        }
        Ok(())
    }

    /// Removes an entry, if it is there. Returns its row.
    pub(super) fn remove_entry(
        &mut self,
        stream: &Arc<str>,
        number: StreamId,
        offset: u64,
    ) -> Result<Option<Bytes>, Fault> {
        self.write_entries()?;
        let row = self.tables.entries()?.remove((number, offset))?.map(|row| Bytes::copy_from_slice(row.value()));
        if let Some(row) = &row
            && let Some(stream) = self.stream_mut(stream)?
        {
            stream.entries = stream.entries.saturating_sub(1);
            stream.bytes = stream.bytes.saturating_sub(row.len() as u64);
        }
        Ok(row)
    }

    /// Sets what a stream keeps. The stream is made if there is none.
    pub fn configure_stream(&mut self, name: &Arc<str>, settings: &StreamSettings) -> Result<(), Error> {
        let before = self.stream_or_new(name)?;
        let row = self.stream_that_is(name)?;
        row.settings = settings.clone();
        if settings.compact && !before.settings.compact {
            row.compacted_to = row.first;
        }
        Ok(())
    }

    /// The latest offset of a key, of a stream that keeps only those.
    pub(super) fn latest_of(&mut self, number: StreamId, key: &str) -> Result<Option<u64>, Fault> {
        Ok(self.tables.entry_keys()?.get((number, key))?.map(|offset| offset.value()))
    }
}
