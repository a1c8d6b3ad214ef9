//! Home: jobs without a group that could run. They are in no index, which keeps them cheap.

use std::sync::Arc;

use bytes::Bytes;

use super::facets::check_job;
use super::verifier::Verifier;
use crate::job::{Change, JobId, Order, QueueId, ReadyJob};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::storage::rows::tables::ReadyKey;

#[inline]
pub(super) fn ready_key(queue: QueueId, entry: &ReadyJob) -> ReadyKey {
    (queue, entry.order.priority, entry.id.get())
}

impl Batch<'_> {
    #[inline]
    pub(super) fn put_ready(&mut self, queue: QueueId, entry: Arc<ReadyJob>, bytes: &Bytes) {
        self.moved(bytes.len());
        self.tables.arriving.push(ready_key(queue, &entry), bytes.clone());
        self.changes.push(Change::Ready { queue, job: entry });
    }

    /// Makes room in memory for so many jobs, most of which become ready.
    pub fn expect(&mut self, jobs: usize) {
        self.changes.reserve(jobs);
        self.tables.arriving.reserve(jobs);
    }

    /// Removes a job that waits from `ready`, and tells dispatch.
    pub(super) fn take_ready(&mut self, queue: QueueId, id: JobId, priority: u8) -> Result<bool, Fault> {
        let was_there = self.tables.ready()?.remove((queue, priority, id.get()))?.is_some();
        let order = Order { priority, position: id.get() };
        self.changes.push(Change::Gone { queue, grouped: false, order, id });
        Ok(was_there)
    }

    /// Removes the rows of jobs that were handed out and have no group, all at once. Returns for each whether it was
    /// there. [`Batch::apply`] does the rest.
    pub fn take_rows_out(&mut self, taken: &[(QueueId, &ReadyJob)]) -> Result<Vec<bool>, Fault> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        self.touch();
        // Each of them is settled.
        self.changes.reserve(taken.len());
        let keys: Vec<_> = taken.iter().map(|(queue, entry)| ready_key(*queue, entry)).collect();
        self.tables.remove_ready(&keys)
    }
}

/// Checks the jobs of this home.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    for row in verifier.tables().ready_rows()?.range((0, 0, 0)..=(u32::MAX, u8::MAX, u64::MAX))? {
        let (key, row) = row?;
        let (queue, priority, id) = key.value();
        check_job(verifier, queue, id, Place::Ready { priority }, row.value())?;
    }
    Ok(())
}
