//! Verbs: what becomes of an entry that a consumer has. It is passed when its handler has completed. In every other case it
//! becomes a job in the queue of its consumer, and the cursor passes it: what follows is what follows for any job.

use std::sync::Arc;

use crate::job::{Change, EntryPlace, JobId, QueueId, ReadyJob};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::prepared::Prepared;

impl Batch<'_> {
    /// Whether this is an entry that its consumer has not passed. If not, it is a job, or the consumer was moved.
    pub fn is_in_hand(&mut self, queue: QueueId, taken: &ReadyJob) -> Result<bool, Fault> {
        let Some(entry) = taken.record.entry_place() else { return Ok(false) };
        Ok(self.consumer(queue)?.is_some_and(|consumer| consumer.has_in_hand(entry)))
    }

    /// The consumer has passed this entry.
    pub fn pass_entry(&mut self, queue: QueueId, taken: &ReadyJob) -> Result<(), Fault> {
        let Some(EntryPlace { of, passed: Some(passed) }) = taken.record.entry_place() else { return Ok(()) };
        if let Some(consumer) = self.consumer_mut(queue)? {
            consumer.cursor.done(passed.from, of.offset + 1);
        }
        Ok(())
    }

    /// An entry that was handed out becomes a job, at the position from which it was handed out. Nothing is done if it is one
    /// already.
    pub fn entry_becomes_job(&mut self, queue: QueueId, taken: &Arc<ReadyJob>) -> Result<(), Fault> {
        if !self.is_in_hand(queue, taken)? {
            return Ok(());
        }
        self.pass_entry(queue, taken)?;
        self.changes.push(Change::EntryIsJob { queue, id: taken.id });
        self.place_handed_out(queue, taken)
    }

    /// Entries that wait for a job of their group become jobs behind it.
    pub fn waiting_entries_become_jobs(&mut self, queue: QueueId, entries: &[Arc<ReadyJob>]) -> Result<(), Fault> {
        for entry in entries {
            if !self.is_in_hand(queue, entry)? {
                continue;
            }
            self.pass_entry(queue, entry)?;
            self.changes.push(Change::EntryIsJob { queue, id: entry.id });
            self.enter_with_id(entry.id, &mut Prepared::new(queue, entry.record.clone(), None))?;
        }
        Ok(())
    }

    /// Reserves ids and positions for entries: `count` of each. Returns the first ones.
    pub fn reserve_ids(&mut self, count: u64) -> (JobId, u64) {
        self.touch();
        let first = (JobId::new(self.counters.next_id), self.counters.next_position);
        self.counters.next_id += count;
        self.counters.next_position += count;
        first
    }
}
