//! The rows of streams and consumers in one batch: each is read once, changed in memory, and written when the batch is sealed.
//! New entries are written then too, by runs.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use crate::job::{ConsumerRow, QueueId, StreamId, StreamRow};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::flow_rows::Cached;
use crate::storage::rows::runs;
use crate::storage::rows::stream_rows::{StreamNews, StreamRows};
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tables_ext::RowTable;
use crate::storage::rows::version::{STREAM_VERSION, raise_to};

impl Batch<'_> {
    /// A stream, to be read.
    pub(in crate::storage) fn stream(&mut self, name: &Arc<str>) -> Result<Option<&StreamRow>, Fault> {
        self.load_stream(name)?;
        Ok(self.stream_rows.streams[name].row.as_ref())
    }

    /// A stream, to be changed.
    pub(in crate::storage) fn stream_mut(&mut self, name: &Arc<str>) -> Result<Option<&mut StreamRow>, Fault> {
        self.touch();
        self.load_stream(name)?;
        let cached = self.stream_rows.streams.get_mut(name).expect("it was loaded");
        cached.is_changed = true;
        Ok(cached.row.as_mut())
    }

    /// Stores a stream, or removes its row.
    pub(in crate::storage) fn put_stream(&mut self, name: &Arc<str>, row: Option<StreamRow>) {
        self.touch();
        self.stream_rows.streams.insert(name.clone(), Cached { row, is_changed: true });
    }

    /// Makes a stream, which must not be there. Its name was checked.
    pub(in crate::storage) fn make_stream(&mut self, name: &Arc<str>) -> Result<StreamRow, Fault> {
        raise_to(&mut self.tables, STREAM_VERSION)?;
        // Never used again, so nothing that is left of a removed stream is taken for this one's.
        let number = self.next_opening();
        let row = StreamRow::new(number, self.now.wall);
        self.put_stream(name, Some(row.clone()));
        Ok(row)
    }

    fn load_stream(&mut self, name: &Arc<str>) -> Result<(), Fault> {
        if self.stream_rows.streams.contains_key(name) {
            return Ok(());
        }
        let stored = self.tables.streams()?.get_row(name)?;
        let cached = self.read_or_set_aside(TableName::Streams, 0, &&**name, stored)?;
        self.stream_rows.streams.insert(name.clone(), cached);
        Ok(())
    }

    /// The consumer of this queue, to be read.
    pub(in crate::storage) fn consumer(&mut self, queue: QueueId) -> Result<Option<&ConsumerRow>, Fault> {
        self.load_consumer(queue)?;
        Ok(self.stream_rows.consumers[&queue].row.as_ref())
    }

    /// The consumer of this queue, to be changed.
    pub(in crate::storage) fn consumer_mut(&mut self, queue: QueueId) -> Result<Option<&mut ConsumerRow>, Fault> {
        self.touch();
        self.load_consumer(queue)?;
        let cached = self.stream_rows.consumers.get_mut(&queue).expect("it was loaded");
        cached.is_changed = true;
        Ok(cached.row.as_mut())
    }

    /// Stores a consumer, or removes its row.
    pub(in crate::storage) fn put_consumer(&mut self, queue: QueueId, row: Option<ConsumerRow>) {
        self.touch();
        self.stream_rows.consumers.insert(queue, Cached { row, is_changed: true });
    }

    fn load_consumer(&mut self, queue: QueueId) -> Result<(), Fault> {
        if self.stream_rows.consumers.contains_key(&queue) {
            return Ok(());
        }
        let stored = self.tables.consumers()?.get_row(queue)?;
        let cached = self.read_or_set_aside(TableName::Consumers, u64::from(queue), &queue, stored)?;
        self.stream_rows.consumers.insert(queue, cached);
        Ok(())
    }

    /// The queues of all consumers, as this batch leaves them.
    pub(in crate::storage) fn consumer_queues(&mut self) -> Result<Vec<QueueId>, Fault> {
        let mut queues = Vec::new();
        for row in self.tables.consumers()?.iter()? {
            queues.push(row?.0.value());
        }
        let changed = &self.stream_rows.consumers;
        queues.retain(|queue| changed.get(queue).is_none_or(|cached| cached.row.is_some()));
        let new = changed.iter().filter(|(queue, cached)| cached.row.is_some() && !queues.contains(queue));
        let new: Vec<_> = new.map(|(queue, _)| *queue).collect();
        queues.extend(new);
        queues.sort_unstable();
        Ok(queues)
    }

    /// Adds an entry, which is written with others when the batch is sealed.
    pub(in crate::storage) fn arrive_entry(&mut self, stream: StreamId, offset: u64, row: Bytes) {
        self.moved(row.len());
        self.stream_rows.arriving.push(((stream, offset), row));
    }

    /// Writes the entries that were added. Afterwards the table can be read.
    pub(in crate::storage) fn write_entries(&mut self) -> Result<(), Fault> {
        if self.stream_rows.arriving.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.stream_rows.arriving);
        if !rows.is_sorted_by_key(|(key, _)| *key) {
            rows.sort_unstable_by_key(|(key, _)| *key);
        }
        let table = self.tables.entries()?;
        for run in rows.chunk_by(|(a, _), (b, _)| a.0 == b.0) {
            runs::insert(table, run)?;
        }
        Ok(())
    }

    /// Writes what was changed, and returns what is told of it.
    pub(in crate::storage) fn write_stream_rows(&mut self) -> Result<StreamNews, Fault> {
        let mut news = StreamNews::default();
        if self.stream_rows.streams.is_empty() && self.stream_rows.consumers.is_empty() {
            return Ok(news);
        }
        self.write_entries()?;
        let StreamRows { streams, consumers, .. } = std::mem::take(&mut self.stream_rows);
        for (name, Cached { row, is_changed }) in streams {
            match row {
                _ if !is_changed => {}
                Some(row) => {
                    news.grown.push((row.number, row.next));
                    self.tables.streams()?.insert(&*name, codec::encode(&row).as_slice())?;
                }
                None => drop(self.tables.streams()?.remove(&*name)?),
            }
        }
        for (queue, Cached { row, is_changed }) in consumers {
            match row {
                _ if !is_changed => {}
                Some(row) => drop(self.tables.consumers()?.insert(queue, codec::encode(&row).as_slice())?),
                None => drop(self.tables.consumers()?.remove(queue)?),
            }
        }
        Ok(news)
    }
}
