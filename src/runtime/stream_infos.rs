//! Reads what is told of streams and their consumers.

use super::engine::Engine;
use crate::error::Error;
use crate::job::{ConsumerInfo, ConsumerRow, QueueId, StreamInfo, consumer_queue};
use crate::storage::Reader;

/// Streams in one page, at most.
const STREAMS_PER_PAGE_MAX: usize = 1_000;

impl Engine {
    /// The streams behind the name `after`, in the order of their names.
    pub fn stream_infos(&self, after: &str, limit: usize) -> Result<Vec<StreamInfo>, Error> {
        let found = self.reader()?.streams(after, limit.clamp(1, STREAMS_PER_PAGE_MAX))?;
        Ok(found.into_iter().map(|(name, row)| StreamInfo::new(name, row)).collect())
    }

    /// The first consumers of a stream, or of all, by their streams and names.
    pub fn consumer_infos(&self, stream: Option<&str>, limit: usize) -> Result<Vec<ConsumerInfo>, Error> {
        let reader = self.reader()?;
        let found = reader.consumers(stream)?.into_iter().take(limit);
        found.map(|(queue, row)| self.describe(&reader, queue, row)).collect()
    }

    /// One consumer.
    pub fn consumer_info(&self, stream: &str, name: &str) -> Result<Option<ConsumerInfo>, Error> {
        let Some(queue) = self.find_queue(&consumer_queue(stream, name)) else { return Ok(None) };
        let reader = self.reader()?;
        let row = reader.consumer(queue)?.filter(|row| row.is(stream, name));
        row.map(|row| self.describe(&reader, queue, row)).transpose()
    }

    fn describe(&self, reader: &Reader, queue: QueueId, row: ConsumerRow) -> Result<ConsumerInfo, Error> {
        let of = reader.stream(&row.stream)?;
        let next = row.cursor.low;
        let end = of.as_ref().map_or(next, |of| of.next);
        let behind = end.saturating_sub(next).saturating_sub(row.cursor.done_behind_low());
        let first = match &of {
            Some(of) if behind > 0 => reader.entries(of.number, next, 1, usize::MAX)?.entries.pop(),
            _ => None,
        };
        let counts = self.tally(queue);
        Ok(ConsumerInfo {
            stream: row.stream.to_string(),
            name: row.name.to_string(),
            queue: self.queue_name(queue).to_string(),
            next,
            behind,
            behind_since: first.map(|entry| entry.record.enqueued_at),
            jobs: counts.unfinished(),
            dead: counts.dead,
            lost: row.lost,
            paused: self.is_paused(queue),
            running: self.has_worker(queue),
            created_at: row.created_at,
        })
    }
}
