//! What the engine itself asks for: promotion, tokens, retention, rows that cannot be read.

use crate::error::Error;
use crate::job::{BucketKey, BucketState, Change, JobId, QueueId};
use crate::storage::{Batch, Damage, SweepRoom};

/// Due jobs made ready in one commit, at most, per queue: a million due at once must not hold up
/// everybody else.
pub(crate) const PROMOTED_AT_ONCE: usize = 1_000;

/// Rows that retention removes in one commit, at most.
pub(crate) const PRUNED_AT_ONCE: usize = 1_000;

/// Queues in which retention looks for rows to remove in one commit, at most: a look costs some microseconds, and others wait
/// meanwhile.
pub(crate) const QUEUES_PRUNED_AT_ONCE: usize = 256;

/// Unique keys whose time has passed, removed in one commit, at most.
pub(crate) const KEYS_SWEPT_AT_ONCE: usize = 1_000;

pub(crate) fn promote(batch: &mut Batch<'_>, queue: QueueId) -> Result<(), Error> {
    Ok(batch.promote(queue, PROMOTED_AT_ONCE)?)
}

/// Makes durable that these tokens are taken, so that they may be used. `state` is the bucket without them.
pub(crate) fn reserve(
    batch: &mut Batch<'_>,
    key: &BucketKey,
    tokens: u32,
    state: Option<&BucketState>,
) -> Result<(), Error> {
    batch.put_rate(key, state)?;
    batch.changes.push(Change::Reserved { key: key.clone(), tokens });
    Ok(())
}

/// Makes durable what a bucket holds; nothing if that is what a bucket nobody knows would.
pub(crate) fn save_bucket(batch: &mut Batch<'_>, key: &BucketKey, state: Option<&BucketState>) -> Result<(), Error> {
    Ok(batch.put_rate(key, state)?)
}

/// Removes what retention no longer keeps, from this queue on. Returns the queue to go on from, unless it has come to the
/// end.
pub(crate) fn prune(batch: &mut Batch<'_>, from: QueueId) -> Result<Option<QueueId>, Error> {
    let mut next = from;
    let mut room = SweepRoom { rows: PRUNED_AT_ONCE, bytes: batch.limits.removed_at_once };
    for _ in 0..QUEUES_PRUNED_AT_ONCE {
        let Some(queue) = batch.catalog().next_with_ended(next) else { return Ok(None) };
        batch.pruned += batch.prune(queue, &mut room)?;
        if room.is_used_up() {
            return Ok(Some(queue));
        }
        let Some(after) = queue.checked_add(1) else { return Ok(None) };
        next = after;
    }
    Ok(batch.catalog().next_with_ended(next))
}

pub(crate) fn sweep_keys(batch: &mut Batch<'_>) -> Result<usize, Error> {
    Ok(batch.sweep_keys(KEYS_SWEPT_AT_ONCE)?)
}

/// Sets a row aside that cannot be read, so that the others go on.
pub(crate) fn quarantine(batch: &mut Batch<'_>, damage: &Damage) -> Result<(), Error> {
    Ok(batch.quarantine(damage)?)
}

/// The first commit after the file was opened again: that it can be made is what matters. These jobs were
/// handed out and did not start, because nobody knew whether their marks were durable. They were.
pub(crate) fn begin_again(batch: &mut Batch<'_>, unstarted: &[JobId]) -> Result<(), Error> {
    batch.touch();
    batch.unmark_all(unstarted)?;
    Ok(())
}

/// The last commit of an orderly stop: nothing runs, and the file says so.
pub(crate) fn close_clean(batch: &mut Batch<'_>) -> Result<(), Error> {
    batch.touch();
    batch.counters.clean = true;
    Ok(())
}
