//! Verb: a sweep removes entries that are kept no longer.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use super::{entries_from, is_older, read_entry};
use crate::error::Error;
use crate::events::Event;
use crate::job::{QueueId, StreamRow, Withdraw, check_name};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::table_name::TableName;

/// How many entries are looked at in one commit.
const ENTRIES_SWEPT_AT_ONCE: usize = 2_000;

impl Batch<'_> {
    /// Removes entries of a stream that are beyond its limits. Returns whether there may be more.
    pub fn sweep_stream(&mut self, name: &Arc<str>, dispatch: &dyn Withdraw) -> Result<bool, Error> {
        check_name("stream", name)?;
        let Some(row) = self.stream(name)?.cloned() else { return Ok(false) };
        self.write_entries()?;
        let removed = self.remove_beyond_limits(name, &row, dispatch)?;
        let compacted = match row.settings.compact {
            true => self.compact_some(name, &row)?,
            // The stream keeps all entries of a key again: which was the latest is not needed.
            false => self.remove_keys(row.number, ENTRIES_SWEPT_AT_ONCE)? == ENTRIES_SWEPT_AT_ONCE,
        };
        Ok(removed || compacted)
    }

    fn remove_beyond_limits(
        &mut self,
        name: &Arc<str>,
        row: &StreamRow,
        dispatch: &dyn Withdraw,
    ) -> Result<bool, Error> {
        let settings = &row.settings;
        let (mut entries, mut bytes, mut first) = (row.entries, row.bytes, row.first);
        let mut beyond: Vec<(u64, Bytes)> = Vec::new();
        let mut moved = 0;
        let mut has_more = false;
        for entry in self.tables.entries()?.range(entries_from(row.number, row.first)).map_err(Fault::from)? {
            let (key, value) = entry.map_err(Fault::from)?;
            let (offset, value) = (key.value().1, Bytes::copy_from_slice(value.value()));
            let is_full = settings.are_exceeded_by(entries, bytes);
            if !is_full && !settings.max_age.is_some_and(|max| is_older(offset, &value, max, self.now.age)) {
                break;
            }
            if beyond.len() == ENTRIES_SWEPT_AT_ONCE || moved > self.limits.moved_at_once {
                has_more = true;
                break;
            }
            moved += value.len() as u64;
            entries -= 1;
            bytes = bytes.saturating_sub(value.len() as u64);
            first = offset + 1;
            beyond.push((offset, value));
        }
        // What a handler has is removed by a later sweep: until then it is not lost.
        let below = dispatch.withdraw_entries(row.number, first);
        if below < first {
            for (_, value) in beyond.extract_if(.., |(offset, _)| *offset >= below) {
                entries += 1;
                bytes += value.len() as u64;
            }
            (first, has_more) = (below, false);
        }
        if beyond.is_empty() {
            return Ok(false);
        }
        self.tell_consumers(name, first, &beyond)?;
        let last = beyond[beyond.len() - 1].0;
        self.tables
            .entries()?
            .retain_in((row.number, row.first)..=(row.number, last), |_, _| false)
            .map_err(Fault::from)?;
        if row.settings.compact {
            for (offset, value) in &beyond {
                self.forget_key(row, *offset, value)?;
            }
        }
        let row = self.stream_that_is(name)?;
        (row.entries, row.bytes, row.first) = (entries, bytes, first);
        row.compacted_to = row.compacted_to.max(first);
        Ok(has_more)
    }

    fn forget_key(&mut self, row: &StreamRow, offset: u64, value: &Bytes) -> Result<(), Fault> {
        let key = read_entry(offset, value).ok().and_then(|record| record.group().cloned());
        if let Some(key) = key
            && self.latest_of(row.number, &key)? == Some(offset)
        {
            self.tables.entry_keys()?.remove((row.number, &*key))?;
        }
        Ok(())
    }

    /// Notes what consumers have lost, and moves them behind it.
    fn tell_consumers(&mut self, stream: &Arc<str>, first: u64, removed: &[(u64, Bytes)]) -> Result<(), Fault> {
        for queue in self.consumers_of(stream)? {
            let Some(consumer) = self.consumer(queue)? else { continue };
            let from = consumer.cursor.low;
            if from >= first {
                continue;
            }
            let lost = removed.iter().filter(|(offset, _)| consumer.cursor.is_open(*offset)).count() as u64;
            let name = consumer.name.clone();
            if let Some(consumer) = self.consumer_mut(queue)? {
                consumer.cursor.skip_to(first);
                consumer.lost += lost;
            }
            if lost > 0 {
                tracing::warn!(
                    stream = &**stream,
                    consumer = &*name,
                    from,
                    to = first,
                    entries = lost,
                    "entries were removed before the consumer was done with them"
                );
                let stream = stream.clone();
                self.event(|| Event::EntriesLost { stream, consumer: name, from, to: first, entries: lost });
            }
        }
        Ok(())
    }

    /// The queues of the consumers of a stream.
    pub(super) fn consumers_of(&mut self, stream: &Arc<str>) -> Result<Vec<QueueId>, Fault> {
        let mut of = Vec::new();
        for queue in self.consumer_queues()? {
            if self.consumer(queue)?.is_some_and(|consumer| consumer.stream == *stream) {
                of.push(queue);
            }
        }
        Ok(of)
    }

    /// Removes entries that are not the latest of their keys, from when the stream did not keep only those.
    fn compact_some(&mut self, name: &Arc<str>, row: &StreamRow) -> Result<bool, Error> {
        if row.compacted_to >= row.next {
            return Ok(false);
        }
        let mut seen = Vec::new();
        for entry in self.tables.entries()?.range(entries_from(row.number, row.compacted_to)).map_err(Fault::from)? {
            let (key, value) = entry.map_err(Fault::from)?;
            if seen.len() == ENTRIES_SWEPT_AT_ONCE {
                break;
            }
            let offset = key.value().1;
            let record = read_entry(offset, &Bytes::copy_from_slice(value.value())).ok();
            seen.push((offset, record.and_then(|record| record.group().cloned())));
        }
        let has_more = seen.len() == ENTRIES_SWEPT_AT_ONCE;
        let to = if has_more { seen[seen.len() - 1].0 + 1 } else { row.next };
        for (offset, key) in seen {
            let Some(key) = key else { continue };
            match self.latest_of(row.number, &key)? {
                Some(latest) if latest > offset => drop(self.remove_entry(name, row.number, offset)?),
                Some(latest) if latest == offset => {}
                before => {
                    self.tables.entry_keys()?.insert((row.number, &*key), offset).map_err(Fault::from)?;
                    if let Some(before) = before {
                        self.remove_entry(name, row.number, before)?;
                    }
                }
            }
        }
        self.stream_that_is(name)?.compacted_to = to;
        Ok(has_more)
    }

    /// An entry that a reader has met cannot be read: it is moved to the quarantine.
    pub(in crate::storage) fn quarantine_entry(&mut self, stream: &Arc<str>, offset: u64) -> Result<(), Fault> {
        self.write_entries()?;
        let Some(number) = self.stream(stream)?.map(|row| row.number) else { return Ok(()) };
        let row = self.tables.entries()?.get((number, offset))?.map(|row| Bytes::copy_from_slice(row.value()));
        let Some(row) = row else { return Ok(()) };
        if read_entry(offset, &row).is_ok() {
            return Ok(());
        }
        self.remove_entry(stream, number, offset)?;
        self.quarantine_row_of(TableName::Entries, &(&**stream, offset), &row, (None, None))
    }
}
