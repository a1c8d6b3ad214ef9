//! Verbs: a consumer is made, moved and removed; it has passed entries.

use std::sync::Arc;

use bytes::Bytes;
use redb::ReadableTable;

use super::{entries_from, read_entry};
use crate::error::Error;
use crate::job::{
    Change, ConsumerRow, Cursor, Passed, QueueId, QueueSettings, Start, StreamId, StreamRow, check_name, consumer_queue,
};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::keys::Numbers;
use crate::time::Timestamp;

/// Why a consumer is refused whose queue would be that of another one: names can have colons.
const OF_ANOTHER: &str =
    "it is the queue of a consumer of another stream, because of a colon in a name: use another name";

/// Why a consumer's queue has no group concurrency.
const ONE_AT_A_TIME: &str = "a consumer handles the entries of a key one at a time, and so the jobs that they become: leave it at 1. \
                             For more at a time append with more keys, or use `EntryOrder::None`";

impl Batch<'_> {
    /// The consumer of this name, which is made if there is none. Returns its queue and the number of its stream.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::InvalidConfig`] for the settings of its queue; [`Error::QueueInUse`] if a consumer of another stream has the same queue; the file has as many queues
    /// as it may have.
    pub fn open_consumer(
        &mut self,
        stream: &Arc<str>,
        name: &Arc<str>,
        start: Start,
    ) -> Result<(QueueId, StreamId), Error> {
        check_name("consumer", name)?;
        self.forgetting_names(|batch| {
            let queue_name = consumer_queue(stream, name);
            let queue = batch.queue_named(&queue_name)?;
            check_group_concurrency(&batch.queue_ref(queue).settings)?;
            let there = batch.consumer(queue)?;
            if there.is_some_and(|there| !there.is(stream, name)) {
                return Err(Error::QueueInUse { queue: queue_name, reason: OF_ANOTHER });
            }
            let is_new = there.is_none();
            let row = batch.stream_or_new(stream)?;
            if is_new {
                batch.catalog().note_consumers();
                batch.queue_mut(queue);
                let cursor = Cursor::at(batch.offset_at(&row, start)?);
                let created_at = batch.now.wall;
                let (stream, name) = (stream.clone(), name.clone());
                let row = ConsumerRow { stream, name, cursor, epoch: 0, lost: 0, created_at };
                batch.put_consumer(queue, Some(row));
            }
            Ok((queue, row.number))
        })
    }

    /// Checks the settings of a queue, which can be that of a consumer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings that a consumer's queue cannot have.
    pub fn check_settings(&mut self, queue: QueueId, settings: &QueueSettings) -> Result<(), Error> {
        match self.consumer(queue)? {
            Some(_) => check_group_concurrency(settings),
            None => Ok(()),
        }
    }

    /// Moves a consumer. What it has in hand does not move its cursor any more.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`].
    pub fn move_consumer(&mut self, stream: &Arc<str>, name: &Arc<str>, to: Start) -> Result<u64, Error> {
        let queue = self.queue_of_consumer(stream, name)?;
        let Some(row) = self.stream(stream)?.cloned() else {
            return Err(Error::NoSuchStream { stream: stream.to_string() });
        };
        let offset = self.offset_at(&row, to)?;
        if let Some(consumer) = self.consumer_mut(queue)? {
            consumer.cursor = Cursor::at(offset);
            consumer.epoch = consumer.epoch.wrapping_add(1);
        }
        self.changes.push(Change::ConsumerMoved { queue });
        Ok(offset)
    }

    /// Removes a consumer, but not its queue: that may have jobs.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`].
    pub fn remove_consumer(&mut self, stream: &Arc<str>, name: &Arc<str>) -> Result<QueueId, Error> {
        let queue = self.queue_of_consumer(stream, name)?;
        self.put_consumer(queue, None);
        Ok(queue)
    }

    /// The queue of a consumer.
    ///
    /// # Errors
    /// [`Error::NoSuchConsumer`].
    pub(super) fn queue_of_consumer(&mut self, stream: &Arc<str>, name: &Arc<str>) -> Result<QueueId, Error> {
        let missing = || Error::NoSuchConsumer { stream: stream.to_string(), consumer: name.to_string() };
        let queue = self.find_queue(&consumer_queue(stream, name)).ok_or_else(missing)?;
        self.consumer(queue)?.filter(|row| row.is(stream, name)).map(|_| queue).ok_or_else(missing)
    }

    /// The offset with which a consumer begins that starts here.
    fn offset_at(&mut self, row: &StreamRow, start: Start) -> Result<u64, Error> {
        self.write_entries()?;
        Ok(offset_at(self.tables.entries()?, row, start)?)
    }

    /// A consumer has passed these offsets without any work: they have no entries for it.
    pub fn pass_entries(&mut self, queue: QueueId, passed: Passed, to: u64) -> Result<(), Fault> {
        if self.consumer(queue)?.is_some_and(|consumer| consumer.epoch == passed.epoch && consumer.cursor.low < to)
            && let Some(consumer) = self.consumer_mut(queue)?
        {
            consumer.cursor.done(passed.from, to);
        }
        Ok(())
    }
}

/// # Errors
/// [`Error::InvalidConfig`] for settings that a consumer's queue cannot have.
fn check_group_concurrency(settings: &QueueSettings) -> Result<(), Error> {
    if settings.group_concurrency > 1 {
        return Err(Error::config("group_concurrency", ONE_AT_A_TIME.into()));
    }
    Ok(())
}

/// The offset with which a reader begins that starts here.
pub(in crate::storage) fn offset_at(
    entries: &impl ReadableTable<Numbers<(u64, u64)>, &'static [u8]>,
    row: &StreamRow,
    start: Start,
) -> Result<u64, Fault> {
    match start {
        Start::Earliest => Ok(row.first),
        Start::Latest => Ok(row.next),
        Start::Offset(offset) => Ok(offset.clamp(row.first, row.next)),
        Start::Time(at) => first_since(entries, row, at),
    }
}

/// The first entry that was appended at this time or later, by the wall clock. The times of entries that were appended at about
/// the same time can be out of order by as much as their calls have waited.
fn first_since(
    entries: &impl ReadableTable<Numbers<(u64, u64)>, &'static [u8]>,
    row: &StreamRow,
    at: Timestamp,
) -> Result<u64, Fault> {
    let (mut from, mut to) = (row.first, row.next);
    while from < to {
        let middle = from + (to - from) / 2;
        // Entries can have been removed: the next one there decides.
        let mut found = None;
        for entry in entries.range(entries_from(row.number, middle))? {
            let (key, value) = entry?;
            let offset = key.value().1;
            if let Ok(record) = read_entry(offset, &Bytes::copy_from_slice(value.value())) {
                found = Some((offset, record.enqueued_at));
                break;
            }
        }
        match found {
            Some((offset, appended)) if appended < at => from = offset + 1,
            _ => to = middle,
        }
    }
    Ok(from)
}
