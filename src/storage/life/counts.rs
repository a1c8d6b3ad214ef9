//! Facet: how many jobs and bytes each queue has, by state, and how many there were in total. Part of the queue's row.

use std::collections::BTreeMap;

use super::moved::Moved;
use super::verifier::Verifier;
use crate::error::Error;
use crate::job::{QueueId, State, Transition};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::prepared::Prepared;
use crate::storage::rows::queue_row::QueueRow;
use crate::storage::rows::table_name::TableName;
use crate::storage::rows::tally::Tally;
use redb::ReadableTable;

/// Counts a job where it is now, and no longer where it was.
#[inline]
pub(super) fn moved(batch: &mut Batch<'_>, moved: &Moved<'_>) {
    let total = total_of(moved.transition);
    let what = |side: &super::moved::Side<'_>| (side.state, side.bytes);
    // A row that is not changed is not written.
    if total.is_none() && moved.from.as_ref().map(what) == moved.to.as_ref().map(what) {
        return;
    }
    let tally = batch.tally(moved.queue);
    if let Some(to) = &moved.to {
        *tally.count_mut(to.state) += 1;
        tally.bytes += if to.state.is_final() { 0 } else { to.bytes };
    }
    if let Some(from) = &moved.from {
        let count = tally.count_mut(from.state);
        *count = count.saturating_sub(1);
        tally.bytes = tally.bytes.saturating_sub(if from.state.is_final() { 0 } else { from.bytes });
    }
    match total {
        Some(Total::Enqueued) => tally.enqueued_total += 1,
        Some(Total::Completed) => tally.completed_total += 1,
        Some(Total::Cancelled) => tally.cancelled_total += 1,
        Some(Total::Failed) => tally.failures_total += 1,
        Some(Total::Dead) => {
            tally.dead_total += 1;
            tally.failures_total += 1;
        }
        None => {}
    }
}

/// The total that a transition adds to.
enum Total {
    Enqueued,
    Completed,
    Cancelled,
    Failed,
    Dead,
}

#[inline]
fn total_of(transition: Transition) -> Option<Total> {
    match transition {
        Transition::Enter { .. } => Some(Total::Enqueued),
        Transition::End(State::Completed) => Some(Total::Completed),
        Transition::End(State::Dead) => Some(Total::Dead),
        Transition::End(_) | Transition::Cancel => Some(Total::Cancelled),
        Transition::PutOff { failed: true, .. } | Transition::GiveBack { failed: true } => Some(Total::Failed),
        _ => None,
    }
}

impl Batch<'_> {
    /// A job that waited in this state is pending from now on.
    pub(super) fn count_promoted(&mut self, queue: QueueId, from: State) {
        let tally = self.tally(queue);
        let count = match from {
            State::Retrying => &mut tally.retrying,
            _ => &mut tally.scheduled,
        };
        *count = count.saturating_sub(1);
        tally.pending += 1;
    }

    /// An entry of a stream was handled, and was never a job.
    pub fn count_entry(&mut self, queue: QueueId) {
        let tally = self.tally(queue);
        tally.enqueued_total += 1;
        tally.completed_total += 1;
    }

    /// A job has made room for a new one. It counts as cancelled as well.
    pub(super) fn count_dropped(&mut self, queue: QueueId) {
        self.tally(queue).dropped_total += 1;
    }

    /// Whether the queue has room for one more job.
    pub fn admit(&mut self, job: &Prepared) -> Result<(), Error> {
        self.room_for(job.queue, 1, job.bytes.len() as u64)
    }

    /// Whether the queue has room for this many more jobs and bytes.
    pub fn room_for(&mut self, queue: QueueId, jobs: u64, bytes: u64) -> Result<(), Error> {
        let row = self.queue_ref(queue);
        let tally: &Tally = &row.tally;
        if row.settings.capacity.admits(tally.unfinished() + jobs, tally.bytes + bytes) {
            return Ok(());
        }
        Err(self.full(queue))
    }

    /// The answer to a caller that finds no room in the queue.
    pub fn full(&mut self, queue: QueueId) -> Error {
        let row = self.queue_ref(queue);
        Error::QueueFull { queue: row.name.to_string(), jobs: row.tally.unfinished(), bytes: row.tally.bytes }
    }
}

// --- verification ---

/// Reads the queues' rows, before the jobs are read.
pub(in crate::storage) fn read_queues(verifier: &mut Verifier<'_>) -> Result<(), Fault> {
    let mut names: BTreeMap<_, QueueId> = BTreeMap::new();
    for row in verifier.tables().queues()?.iter()? {
        verifier.work.rows += 1;
        let (queue, row) = row?;
        let queue = queue.value();
        match codec::decode::<QueueRow>(TableName::Queues, u64::from(queue), row.value()) {
            Ok(row) => {
                if let Some(other) = names.insert(row.name.clone(), queue) {
                    verifier.problem(format!("the queues number {other} and {queue} are both named {:?}", &*row.name));
                }
                verifier.queues.insert(queue, row);
            }
            Err(fault) => verifier.unreadable(fault),
        }
    }
    Ok(())
}

/// Counts a job whose row was read.
pub(super) fn check_job(verifier: &mut Verifier<'_>, queue: QueueId, state: State, bytes: usize) {
    let tally = verifier.tallies.entry(queue).or_default();
    *tally.count_mut(state) += 1;
    tally.bytes += if state.is_final() { 0 } else { bytes as u64 };
}

/// Compares the counts in the queues' rows with the jobs that were read.
pub(in crate::storage) fn problems(verifier: &mut Verifier<'_>) {
    for (queue, row) in std::mem::take(&mut verifier.queues) {
        let counted = verifier.tallies.remove(&queue).unwrap_or_default();
        let of = |t: &Tally| [t.pending, t.scheduled, t.retrying, t.blocked, t.completed, t.cancelled, t.dead, t.bytes];
        let (says, has) = (of(&row.tally), of(&counted));
        if says != has {
            let what = "pending, scheduled, retrying, blocked, completed, cancelled, dead jobs and bytes";
            verifier.problem(format!("queue {:?} counts {says:?} {what}, but has {has:?}", &*row.name));
        }
    }
    for queue in std::mem::take(&mut verifier.tallies).into_keys() {
        verifier.problem(format!("there are jobs in queue number {queue}, but that queue has no row"));
    }
}
