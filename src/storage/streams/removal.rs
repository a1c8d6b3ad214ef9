//! Verb: a stream is removed.

use std::sync::Arc;

use crate::error::Error;
use crate::job::Destination;
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;

/// How many entries are removed in one commit.
const ENTRIES_REMOVED_AT_ONCE: usize = 10_000;

impl Batch<'_> {
    /// Removes some entries of a stream, and the stream with the last of them. Returns whether more are left.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`]; [`Error::StreamInUse`] if it has consumers; [`Error::StreamBound`] if a binding of a topic leads to
    /// it.
    pub fn remove_stream(&mut self, name: &Arc<str>) -> Result<bool, Error> {
        let row = self.stream_that_is(name)?.clone();
        if let Some(queue) = self.consumers_of(name)?.first().copied() {
            let consumer = self.consumer(queue)?.map(|row| row.name.to_string()).unwrap_or_default();
            return Err(Error::StreamInUse { stream: name.to_string(), consumer });
        }
        if let Some(topic) = self.topics_with(&Destination::Stream(name.clone())).first() {
            return Err(Error::StreamBound { stream: name.to_string(), topic: topic.to_string() });
        }
        self.write_entries()?;
        let most = row.first.saturating_add(ENTRIES_REMOVED_AT_ONCE as u64);
        let (mut removed, mut bytes) = (0, 0);
        self.tables
            .entries()?
            .retain_in((row.number, row.first)..(row.number, most), |_, value| {
                removed += 1;
                bytes += value.len() as u64;
                false
            })
            .map_err(Fault::from)?;
        let left = ENTRIES_REMOVED_AT_ONCE.saturating_sub(removed as usize);
        let has_more_keys = self.remove_keys(row.number, left)? == left;
        if most >= row.next && !has_more_keys {
            self.put_stream(name, None);
            return Ok(false);
        }
        let row = self.stream_that_is(name)?;
        row.first = most.min(row.next);
        row.entries = row.entries.saturating_sub(removed);
        row.bytes = row.bytes.saturating_sub(bytes);
        Ok(true)
    }
}
