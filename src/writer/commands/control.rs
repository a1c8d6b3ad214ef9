//! The changes that an operator makes to a queue. Those to one job are verbs of the storage (`storage::life::steering`).

use std::sync::Arc;

use crate::error::Error;
use crate::events::Event;
use crate::job::{BucketKey, Change, JobId, Order, Overrides, QueueId, QueueSettings, WhenFull};
use crate::storage::Batch;

/// How many groups one commit gives further heads.
const GROUPS_PER_COMMIT: usize = 1_000;

/// Sets the settings of a queue. Returns whether the groups that are there must be [filled](fill_groups): more jobs of a group may
/// run at a time than before, or an earlier call has not filled all groups.
pub(crate) fn set_settings(batch: &mut Batch<'_>, queue: &str, settings: &QueueSettings) -> Result<bool, Error> {
    let queue = batch.queue_named(queue)?;
    batch.check_settings(queue, settings)?;
    if settings.when_full == WhenFull::DropOldest {
        batch.may_drop()?;
    }
    let row = batch.queue_mut(queue);
    let before = std::mem::replace(&mut row.settings, settings.clone());
    let is_raised = before.group_concurrency < settings.group_concurrency;
    row.fills_groups = settings.group_concurrency > 1 && (row.fills_groups || is_raised);
    Ok(row.fills_groups)
}

/// Lets as many jobs of each group run as the settings of the queue say, in some of the groups behind `after`. Returns the group
/// behind which the next call goes on. `jobs` is the number for which the first call was made: if there is another one by now,
/// not all groups are filled at the end.
pub(crate) fn fill_groups(
    batch: &mut Batch<'_>,
    queue: &str,
    after: Option<&str>,
    jobs: u32,
) -> Result<Option<Arc<str>>, Error> {
    let Some(queue) = batch.find_queue(queue) else { return Ok(None) };
    let last = batch.fill_groups(queue, after, GROUPS_PER_COMMIT)?;
    if last.is_none() && batch.queue_ref(queue).settings.group_concurrency == jobs {
        batch.queue_mut(queue).fills_groups = false;
    }
    Ok(last)
}

/// The queue to pause or resume. `None` if it is to be resumed and nothing of it is stored: then it is not paused.
fn steered(batch: &mut Batch<'_>, queue: &str, paused: bool) -> Result<Option<QueueId>, Error> {
    if paused { batch.queue_named(queue).map(Some) } else { Ok(batch.find_queue(queue)) }
}

/// Pauses or resumes a queue. Returns false if it was paused or resumed already.
pub(crate) fn pause_queue(batch: &mut Batch<'_>, queue: &str, paused: bool) -> Result<bool, Error> {
    let Some(queue) = steered(batch, queue, paused)? else { return Ok(false) };
    if batch.queue_ref(queue).paused == paused {
        return Ok(false);
    }
    batch.queue_mut(queue).paused = paused;
    batch.changes.push(Change::Paused { queue, paused });
    tell_paused(batch, queue, None, paused);
    Ok(true)
}

/// Pauses or resumes all queues. Returns false if they were paused or resumed already.
pub(crate) fn pause_all(batch: &mut Batch<'_>, paused: bool) -> Result<bool, Error> {
    Ok(batch.pause_all(paused)?)
}

/// Pauses or resumes a kind in a queue. Returns false if it was paused or resumed already.
pub(crate) fn pause_kind(batch: &mut Batch<'_>, queue: &str, kind: &str, paused: bool) -> Result<bool, Error> {
    let Some(queue) = steered(batch, queue, paused)? else { return Ok(false) };
    batch.pause_kind(queue, kind, paused)
}

/// Sets limits of a queue. Returns false if they were set already.
pub(crate) fn set_overrides(batch: &mut Batch<'_>, queue: &str, overrides: &Overrides) -> Result<bool, Error> {
    let Some(queue) = steered(batch, queue, !overrides.is_empty())? else { return Ok(false) };
    Ok(batch.set_overrides(queue, overrides.clone())?)
}

/// Pauses or resumes a group. Returns false if it was paused or resumed already.
pub(crate) fn pause_group(
    batch: &mut Batch<'_>,
    queue: &str,
    group: &Arc<str>,
    paused: bool,
    handed_out: impl Fn(JobId) -> Option<Order>,
) -> Result<bool, Error> {
    let Some(queue) = steered(batch, queue, paused)? else { return Ok(false) };
    let changed = batch.pause_group(queue, group, paused, handed_out)?;
    if changed {
        tell_paused(batch, queue, Some(group.clone()), paused);
    }
    Ok(changed)
}

fn tell_paused(batch: &mut Batch<'_>, queue: QueueId, group: Option<Arc<str>>, paused: bool) {
    let queue = batch.catalog().queue_name(queue);
    batch.event(|| match paused {
        true => Event::Paused { queue, group },
        false => Event::Resumed { queue, group },
    });
}

/// Closes the circuit of a queue or of a group. Returns false if it was closed already.
pub(crate) fn close_circuit(batch: &mut Batch<'_>, queue: &str, group: Option<&Arc<str>>) -> Result<bool, Error> {
    let Some(queue) = batch.find_queue(queue) else { return Ok(false) };
    close(batch, &BucketKey { queue, group: group.cloned() })
}

/// Closes the circuits that nothing uses any more. `is_free` says whether that is still so.
pub(crate) fn forget_circuits(
    batch: &mut Batch<'_>,
    keys: &[BucketKey],
    is_free: impl Fn(&BucketKey) -> bool,
) -> Result<(), Error> {
    for key in keys {
        if is_free(key) {
            close(batch, key)?;
        }
    }
    Ok(())
}

fn close(batch: &mut Batch<'_>, key: &BucketKey) -> Result<bool, Error> {
    let is_changed = batch.close_circuit(key)?;
    if is_changed {
        let (queue, group) = (batch.catalog().queue_name(key.queue), key.group.clone());
        batch.event(|| Event::CircuitClosed { queue, group, probe: None });
    }
    Ok(is_changed)
}

/// Frees a unique key. Returns false if it was free.
pub(crate) fn release_unique_key(batch: &mut Batch<'_>, queue: &str, key: &str) -> Result<bool, Error> {
    match batch.find_queue(queue) {
        Some(queue) => Ok(batch.release_unique_key(queue, key)?),
        None => Ok(false),
    }
}
