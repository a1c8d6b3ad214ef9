//! The changes that the engine itself makes: promotion, tokens, retention, rows that cannot be read.

use crate::error::Error;
use crate::job::{BucketKey, BucketState, Change, JobId, QueueId};
use crate::storage::{Batch, Damage, SweepRoom};

/// How many due jobs of a queue are made ready in one commit: a million at once must not delay all other commands.
pub(crate) const PROMOTED_AT_ONCE: usize = 1_000;

/// How many rows retention removes in one commit.
pub(crate) const PRUNED_AT_ONCE: usize = 1_000;

/// In how many queues retention searches for rows to remove in one commit: each search takes some microseconds, and other
/// commands wait meanwhile.
pub(crate) const QUEUES_PRUNED_AT_ONCE: usize = 256;

/// How many unique and idempotency keys whose time has passed are removed in one commit.
pub(crate) const KEYS_SWEPT_AT_ONCE: usize = 1_000;

pub(crate) fn promote(batch: &mut Batch<'_>, queue: QueueId) -> Result<(), Error> {
    Ok(batch.promote(queue, PROMOTED_AT_ONCE)?)
}

/// Makes durable that these tokens are reserved, so that they may be used. `state` is the bucket without them.
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

/// Makes the state of a bucket durable. `None` removes its row, because it equals a new bucket.
pub(crate) fn save_bucket(batch: &mut Batch<'_>, key: &BucketKey, state: Option<&BucketState>) -> Result<(), Error> {
    Ok(batch.put_rate(key, state)?)
}

/// Removes ended jobs that retention does not keep any more, beginning with the queue `from`. Returns the queue to continue
/// with, or `None` after the last one.
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
    let swept = batch.sweep_keys(KEYS_SWEPT_AT_ONCE)?;
    Ok(swept + batch.sweep_timed_keys(KEYS_SWEPT_AT_ONCE - swept)?)
}

/// Moves a row that cannot be read to the quarantine, so that other jobs continue.
pub(crate) fn quarantine(batch: &mut Batch<'_>, damage: &Damage) -> Result<(), Error> {
    Ok(batch.quarantine(damage)?)
}

/// The first commit after the file was reopened, which proves that the file can be written. `unstarted` are jobs that were
/// handed out and did not start, because it was not known whether their start marks were durable. The marks were durable,
/// and are removed.
pub(crate) fn begin_again(batch: &mut Batch<'_>, unstarted: &[JobId]) -> Result<(), Error> {
    batch.touch();
    batch.unmark_all(unstarted)?;
    Ok(())
}

/// The last commit of an orderly stop: it writes to the file that nothing runs.
pub(crate) fn close_clean(batch: &mut Batch<'_>) -> Result<(), Error> {
    batch.touch();
    batch.counters.clean = true;
    Ok(())
}
