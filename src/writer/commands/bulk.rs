//! The changes that one call makes to many jobs, a chunk at a time.

use super::dead_letters::Progress;
use crate::error::Error;
use crate::events::Event;
use crate::job::{QueueId, Transition};
use crate::storage::{Batch, Fault, Found, Location, Move, NewHome, Place, Stored, Target};

/// Makes one change to each of these jobs, until as much was moved as one command may move. A job that is gone by now, or
/// that is in a state in which the change is not allowed, is passed over.
pub(crate) fn each(
    batch: &mut Batch<'_>,
    targets: &[Target],
    mut change: impl FnMut(&mut Batch<'_>, Target) -> Result<bool, Error>,
) -> Result<Progress, Error> {
    let before = batch.moved_bytes();
    let mut changed = 0;
    for (looked_at, &target) in targets.iter().enumerate() {
        if looked_at > 0 && batch.moved_bytes() - before >= batch.limits.moved_at_once {
            return Ok(Progress { changed, looked_at });
        }
        match change(batch, target) {
            Ok(is_changed) => changed += u64::from(is_changed),
            Err(Error::NoSuchJob { .. } | Error::NotAllowed { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Progress { changed, looked_at: targets.len() })
}

/// Removes a job for good, whether it waits or has ended. Its unique key is free at once.
///
/// # Errors
/// [`Error::NotAllowed`] if a handler has the job.
pub(crate) fn delete(batch: &mut Batch<'_>, target: Target) -> Result<bool, Error> {
    let id = target.id;
    let (queue, stored) = find(batch, target, "delete")?;
    batch.apply(Move { id, queue, transition: Transition::Purge, from: stored.from(), to: NewHome::Nowhere })?;
    batch.note_end(queue, id, || None);
    let (queue, kind) = (batch.catalog().queue_name(queue), batch.catalog().kind_name(stored.record.kind));
    batch.event(|| Event::Deleted { id, queue, kind });
    Ok(true)
}

/// Moves a job that waits or is a dead letter to the queue named `to`. Returns false if it is there already, or if another
/// job there holds its unique key.
///
/// # Errors
/// [`Error::NotAllowed`] if a handler has the job, or if it has completed or was cancelled; [`Error::QueueFull`].
pub(crate) fn move_to(batch: &mut Batch<'_>, target: Target, to: &str) -> Result<bool, Error> {
    let id = target.id;
    let (from, stored) = find(batch, target, "move")?;
    if let Place::Finished { state, .. } = stored.place {
        return Err(Error::NotAllowed { action: "move", id, state });
    }
    let to_queue = batch.queue_named(to)?;
    if to_queue == from {
        return Ok(false);
    }
    if !stored.record.state.is_final() {
        if let Some(key) = stored.record.unique_key().filter(|_| stored.record.unique().window().is_none())
            && batch.key_is_held(to_queue, key)?
        {
            return Ok(false);
        }
        batch.room_for(to_queue, 1, stored.bytes as u64)?;
    }
    let kind = batch.catalog().kind_name(stored.record.kind);
    batch.move_job(id, from, stored, to_queue)?;
    let (from, to) = (batch.catalog().queue_name(from), batch.catalog().queue_name(to_queue));
    batch.event(|| Event::Moved { id, from, to, kind });
    Ok(true)
}

/// The job and its queue.
///
/// # Errors
/// [`Error::NotAllowed`] if a handler has the job.
fn find(batch: &mut Batch<'_>, target: Target, action: &'static str) -> Result<(QueueId, Stored), Error> {
    let (queue, place) = batch.find_free(target, action)?;
    let stored = batch.stored(queue, target.id, place)?.ok_or(Error::NoSuchJob { id: target.id })?;
    Ok((queue, stored))
}

/// The job as it is now; `None` if it is gone, or if its row cannot be read.
pub(crate) fn found(batch: &mut Batch<'_>, target: Target) -> Result<Option<Found>, Error> {
    let Some(Location { queue, place }) = batch.locate_known(target.id, target.queue)? else { return Ok(None) };
    match batch.stored(queue, target.id, place) {
        Ok(stored) => Ok(stored.map(|Stored { place, record, .. }| Found {
            id: target.id,
            queue,
            place,
            record,
            unindexed: false,
        })),
        Err(Fault::Corrupt { .. }) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}
