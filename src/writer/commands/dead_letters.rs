//! The changes that can be made to dead letters: redrive, edit and purge.

use std::time::Duration;

use crate::error::Error;
use crate::events::Event;
use crate::job::life;
use crate::job::{JobId, QueueId, StoredPayload};
use crate::storage::{Batch, Location, Move, NewHome, Place, Prepared};
use crate::time::{Due, Timestamp};

/// How many of its jobs one command has handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many jobs it changed.
    pub changed: u64,
    /// How many jobs it handled, at least one: the rest needs another commit.
    pub looked_at: usize,
}

/// Puts dead letters back into their queues with all attempts available again, at the end of their group if they have one.
/// Each becomes due `spacing` after the previous one. Jobs that are not dead letters, or not any more, are passed over.
pub(crate) fn redrive(
    batch: &mut Batch<'_>,
    ids: &[JobId],
    first_after: Duration,
    spacing: Duration,
) -> Result<Progress, Error> {
    let before = batch.moved_bytes();
    let mut redriven = 0;
    for (looked_at, &id) in ids.iter().enumerate() {
        if looked_at > 0 && batch.moved_bytes() - before >= batch.limits.moved_at_once {
            return Ok(Progress { changed: redriven, looked_at });
        }
        let Some((queue, at)) = find(batch, id)? else { continue };
        let Some(stored) = batch.stored(queue, id, Place::Dead { at })? else { continue };
        let wait = first_after + spacing.saturating_mul(u32::try_from(redriven).unwrap_or(u32::MAX));
        let mut record = stored.record.clone();
        let transition = life::redrive(&mut record, (!wait.is_zero()).then(|| Due::after(batch.now, wait)));
        let seq = batch.seq_of_redriven(queue, id, record.group())?;
        let job = &mut Prepared::new(queue, record, None);
        batch.apply(Move { id, queue, transition, from: stored.from(), to: NewHome::Waiting { job, seq } })?;
        let name = batch.catalog().queue_name(queue);
        batch.event(|| Event::Redriven { id, queue: name });
        redriven += 1;
    }
    Ok(Progress { changed: redriven, looked_at: ids.len() })
}

/// Replaces a dead letter's payload.
pub(crate) fn edit(batch: &mut Batch<'_>, id: JobId, payload: &StoredPayload) -> Result<(), Error> {
    let (queue, at) = find(batch, id)?.ok_or(Error::NoSuchJob { id })?;
    let mut record = batch.stored(queue, id, Place::Dead { at })?.ok_or(Error::NoSuchJob { id })?.record;
    record.payload = payload.clone();
    batch.replace_dead_letter(queue, id, at, &record)?;
    Ok(())
}

/// Deletes dead letters.
pub(crate) fn purge(batch: &mut Batch<'_>, ids: &[JobId]) -> Result<Progress, Error> {
    let (mut purged, mut bytes) = (0, 0);
    for (looked_at, &id) in ids.iter().enumerate() {
        if looked_at > 0 && bytes >= batch.limits.removed_at_once {
            return Ok(Progress { changed: purged, looked_at });
        }
        let Some((queue, at)) = find(batch, id)? else { continue };
        if let Some(removed) = batch.purge_dead_letter(queue, id, at)? {
            bytes += removed as u64;
            purged += 1;
        }
    }
    Ok(Progress { changed: purged, looked_at: ids.len() })
}

fn find(batch: &mut Batch<'_>, id: JobId) -> Result<Option<(QueueId, Timestamp)>, Error> {
    // Every dead letter is in the index.
    Ok(match batch.indexed(id)? {
        Some(Location { queue, place: Place::Dead { at } }) => Some((queue, at)),
        _ => None,
    })
}
