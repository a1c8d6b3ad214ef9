//! Queues are removed and renamed, each chunk in a commit.

use std::sync::Arc;

use crate::error::Error;
use crate::job::{QueueId, Withdraw};
use crate::storage::{Batch, Removal, SweepRoom};

/// How many jobs, keys and other rows of a queue are removed in one commit.
const ROWS_AT_ONCE: usize = 1_000;

/// How many schedules are looked at in one commit.
const SCHEDULES_AT_ONCE: usize = 1_000;

/// What the removal of a queue asks dispatch: keeps jobs from starting, and says in which queues jobs were handed out.
pub(crate) struct Dispatch<'d> {
    pub withdraw: &'d dyn Withdraw,
    pub runs: &'d dyn Fn(QueueId) -> bool,
}

/// Removes the schedules that enqueue in a queue, some at a time. Returns how many, and the name after which to continue,
/// `None` at the end.
pub(crate) fn remove_schedules(
    batch: &mut Batch<'_>,
    queue: &str,
    after: &str,
    runs: impl Fn(QueueId) -> bool,
) -> Result<(u64, Option<String>), Error> {
    batch.remove_schedules_of(queue, after, SCHEDULES_AT_ONCE, runs)
}

/// Removes a queue, as much of it as one commit may remove.
pub(crate) fn obliterate(batch: &mut Batch<'_>, queue: &str, dispatch: Dispatch<'_>) -> Result<Removal, Error> {
    let room = room(batch);
    batch.remove_queue(queue, room, dispatch.withdraw, dispatch.runs)
}

/// Removes a queue that is empty, as much of it as one commit may remove.
pub(crate) fn remove(batch: &mut Batch<'_>, queue: &str, dispatch: Dispatch<'_>) -> Result<Removal, Error> {
    let room = room(batch);
    batch.remove_empty_queue(queue, room, dispatch.withdraw, dispatch.runs)
}

/// Gives a queue another name.
pub(crate) fn rename(
    batch: &mut Batch<'_>,
    from: &str,
    to: &Arc<str>,
    runs: impl Fn(QueueId) -> bool,
) -> Result<(), Error> {
    batch.rename_queue(from, to, runs)
}

fn room(batch: &Batch<'_>) -> SweepRoom {
    SweepRoom { rows: ROWS_AT_ONCE, bytes: batch.limits.removed_at_once }
}
