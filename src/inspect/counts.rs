//! The counts of a queue.

use serde::Serialize;

use crate::job::QueueId;
use crate::runtime::{Depth, Engine};

/// A queue's counts. Every commit updates them, so that reading them costs nothing.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// drain(&pond).await;
///
/// let counts = pond.queue("billing")?.counts();
/// assert_eq!((counts.enqueued_total, counts.completed_total), (3, 3));
/// assert_eq!((counts.unfinished(), counts.completed), (0, 0)); // without a result nothing is kept
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Jobs that could run: they wait for a slot, for jobs before them or for a handler.
    pub pending: u64,
    /// Jobs that a handler is running.
    pub running: u64,
    /// Jobs whose handlers have returned, and whose ends are not durable yet.
    pub ending: u64,
    /// Jobs that are due later and were never tried.
    pub scheduled: u64,
    /// Jobs that are due later after a failed attempt.
    pub retrying: u64,
    /// Jobs that wait for other jobs of their flows.
    pub blocked: u64,
    /// Completed jobs that are kept.
    pub completed: u64,
    /// Dead letters.
    pub dead: u64,
    /// Cancelled and expired jobs that are kept.
    pub cancelled: u64,
    /// Bytes of the records of all jobs that have not ended.
    pub bytes: u64,
    /// All jobs that were ever enqueued.
    pub enqueued_total: u64,
    /// All jobs that ever completed, kept or not.
    pub completed_total: u64,
    /// All attempts that ever failed.
    pub failures_total: u64,
    /// All jobs that ever became dead letters.
    pub dead_total: u64,
    /// All jobs that were ever cancelled, expired or dropped.
    pub cancelled_total: u64,
    /// All jobs that were ever dropped because the queue was full: [`WhenFull::DropOldest`](crate::WhenFull::DropOldest).
    pub dropped_total: u64,
}

impl Counts {
    /// Jobs that have not ended.
    pub fn unfinished(&self) -> u64 {
        self.pending + self.running + self.ending + self.scheduled + self.retrying + self.blocked
    }
}

pub(crate) fn counts(engine: &Engine, queue: QueueId) -> Counts {
    shown(engine.depth(queue))
}

fn shown(Depth { tally, pending, running, ending }: Depth) -> Counts {
    Counts {
        pending,
        running,
        ending,
        scheduled: tally.scheduled,
        retrying: tally.retrying,
        blocked: tally.blocked,
        completed: tally.completed,
        dead: tally.dead,
        cancelled: tally.cancelled,
        bytes: tally.bytes,
        enqueued_total: tally.enqueued_total,
        completed_total: tally.completed_total,
        failures_total: tally.failures_total,
        dead_total: tally.dead_total,
        cancelled_total: tally.cancelled_total,
        dropped_total: tally.dropped_total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Tally;

    #[test]
    fn a_job_promoted_and_taken_since_the_commit_is_counted_once() {
        let tally = Tally { pending: 3, retrying: 5, ..Tally::default() };
        for (taken, running, [pending, still_running, ending]) in
            [(0, 0, [3, 0, 0]), (2, 1, [1, 1, 1]), (4, 4, [0, 3, 0]), (8, 1, [0, 1, 2])]
        {
            let counts = shown(Depth::of(tally, taken, running));
            assert_eq!([counts.pending, counts.running, counts.ending], [pending, still_running, ending]);
            assert_eq!(counts.unfinished(), 8, "{taken} taken");
        }
    }
}
