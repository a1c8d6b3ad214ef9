//! What the engine does for streams: reads entries for consumers, gives them ids, makes jobs of those that are held up, and wakes
//! readers that wait for new entries.

use std::collections::HashSet;
use std::sync::Arc;

use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::job::{EntryOf, EntryPlace, JobId, Passed, QueueId, ReadyJob};
use crate::scheduler::{FedPage, FeedRefill};
use crate::storage::{Batch, Damage, ReadEntry, StreamNews, len_as_job};
use crate::transaction::Prepare;
use crate::writer::call_with;

/// How many ids are reserved at a time. What is left of them when the file is closed is never used.
const IDS_AT_ONCE: u64 = 16_384;

impl Engine {
    /// Tells consumers and readers that wait of new entries.
    pub(super) fn streams_have_grown(&self, news: StreamNews) {
        if news.grown.is_empty() {
            return;
        }
        if self.scheduler().streams_have_grown(&news.grown) {
            self.wake_dispatcher();
        }
        self.grown.notify_waiters();
    }

    /// Ready the next time that a stream has new entries, or the file is closed.
    pub fn grown(&self) -> tokio::sync::futures::Notified<'_> {
        self.grown.notified()
    }

    /// Reads a page of entries for a consumer.
    pub(super) fn read_entries(self: &Arc<Self>, refill: FeedRefill) {
        let queue = refill.queue;
        match self.entries_for(&refill) {
            Ok(Some(page)) => {
                self.scheduler().fed(queue, page);
                self.wake_dispatcher();
            }
            // There are no ids for them: the page is read again when there are.
            Ok(None) => {}
            Err(error) => {
                tracing::error!(%error, "could not read the next entries of a stream");
                let write = |_: &mut Batch<'_>| Ok(());
                self.internally(write, move |engine, _: Result<(), Error>| {
                    engine.scheduler().request_entries_again(queue);
                    engine.wake_dispatcher();
                });
            }
        }
    }

    fn entries_for(self: &Arc<Self>, refill: &FeedRefill) -> Result<Option<FedPage>, Error> {
        let FeedRefill { queue, ref feeding, .. } = *refill;
        let reader = self.store.reader()?;
        let (Some(consumer), Some(stream)) = (reader.consumer(queue)?, reader.stream(&feeding.stream)?) else {
            // The consumer was removed, or its row cannot be read.
            return Ok(Some(FedPage::default()));
        };
        let cursor = &consumer.cursor;
        let (from, epoch) = refill.from.unwrap_or((cursor.low, consumer.epoch));
        if epoch != consumer.epoch {
            // It was moved: the scheduler hears of that, if it has not.
            return Ok(Some(FedPage { epoch, next: from, end: stream.next, ..FedPage::default() }));
        }
        let most = refill.entries_max.min(IDS_AT_ONCE as usize);
        if !self.entry_ids.have(most as u64) {
            self.reserve_ids(queue);
            return Ok(None);
        }
        let read = reader.entries(stream.number, from.max(stream.first), most, refill.bytes_max)?;
        let mut passed = Passed { from: from.max(stream.first), epoch };
        let mut entries = Vec::with_capacity(read.entries.len());
        let Some((id, position)) = self.entry_ids.take(read.entries.len() as u64) else {
            // Another consumer has taken them meanwhile.
            self.reserve_ids(queue);
            return Ok(None);
        };
        for (n, ReadEntry { offset, bytes, mut record }) in (0..).zip(read.entries) {
            if !refill.kinds.contains(record.kind) || !cursor.is_open(offset) {
                continue;
            }
            let group = feeding.order.group_of(record.group());
            let of = EntryOf::new(feeding.stream.clone(), offset);
            let bytes = len_as_job(bytes, &record, group.as_deref(), &of);
            record.for_consumer(EntryPlace { of, passed: Some(passed) }, group);
            passed.from = offset + 1;
            let position = if record.group().is_some() { position + n } else { id + n };
            entries.push(Arc::new(ReadyJob::new(JobId::new(id + n), position, record, bytes)));
        }
        // What is behind the last entry has none for this consumer.
        if passed.from < read.next && cursor.low < read.next {
            let to = read.next;
            let write = move |batch: &mut Batch<'_>| Ok(batch.pass_entries(queue, passed, to)?);
            self.internally(write, |_, _: Result<(), Error>| {});
        }
        self.quarantine_entries(&feeding.stream, read.damaged);
        let groups: HashSet<Arc<str>> = entries.iter().filter_map(|entry| entry.group().cloned()).collect();
        let in_use = reader.groups_in_use(queue, groups)?;
        Ok(Some(FedPage { epoch, entries, next: read.next, end: stream.next, in_use }))
    }

    /// Moves entries that cannot be read to the quarantine.
    pub fn quarantine_entries(self: &Arc<Self>, stream: &Arc<str>, offsets: Vec<u64>) {
        if !offsets.is_empty() {
            let damaged = offsets.into_iter().map(|offset| Damage::Entry(stream.clone(), offset));
            self.quarantine(damaged.collect(), || {});
        }
    }

    fn reserve_ids(self: &Arc<Self>, queue: QueueId) {
        self.internally(
            |batch: &mut Batch<'_>| Ok(batch.reserve_ids(IDS_AT_ONCE)),
            move |engine, reserved| {
                if let Ok(first) = reserved {
                    engine.entry_ids.add(first, IDS_AT_ONCE);
                }
                engine.scheduler().request_entries_again(queue);
                engine.wake_dispatcher();
            },
        );
    }

    /// Removes some entries of a stream that are beyond its limits. Returns whether there may be more.
    pub fn sweep_stream(self: &Arc<Self>, name: Arc<str>) -> Commit<bool> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) =
                call_with(move |batch: &mut Batch<'_>, prepare: &dyn Prepare| batch.sweep_stream(&name, prepare));
            engine.answered(step.in_bulk(), 0, answer).await
        })
    }

    /// Makes jobs of entries that wait for a job of their group.
    pub(super) fn make_jobs_of(self: &Arc<Self>, queue: QueueId, entries: Vec<Arc<ReadyJob>>) {
        let write = move |batch: &mut Batch<'_>| Ok(batch.waiting_entries_become_jobs(queue, &entries)?);
        self.internally_in_bulk(write, move |engine, result| {
            if let Err(error) = &result {
                tracing::debug!(%error, "entries of a stream could not be stored as jobs");
            }
            engine.scheduler().entries_converted(queue, result.is_ok());
            engine.wake_dispatcher();
        });
    }
}
