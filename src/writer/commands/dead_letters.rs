//! What can be done with a job that failed for good.

use std::time::Duration;

use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, Payload, QueueId, Record, State};
use crate::storage::{Batch, Location, Place, Prepared};
use crate::time::{Due, Timestamp};

/// Puts dead letters back into their queues with all their attempts before them, at the tail of
/// their group if they have one, each `spacing` after the one before. Those that are not dead
/// letters (any more) are passed over. Returns how many went back.
pub(crate) fn redrive(
    batch: &mut Batch<'_>,
    ids: &[JobId],
    first_after: Duration,
    spacing: Duration,
) -> Result<u64, Error> {
    let mut redriven = 0;
    for &id in ids {
        let Some((queue, at)) = find(batch, id)? else { continue };
        let Some(mut record) = batch.dead_letter(queue, id, at)? else { continue };
        batch.remove_dead_letter(queue, id, at)?;
        let wait = first_after + spacing.saturating_mul(u32::try_from(redriven).unwrap_or(u32::MAX));
        revive(&mut record, (!wait.is_zero()).then(|| Due::after(batch.now, wait)));
        batch.regain_key(queue, id, &record)?;
        let seq = batch.next_number();
        batch.insert_as(id, seq, &mut Prepared::new(queue, record, None))?;
        let name = batch.catalog().queue_name(queue);
        batch.event(|| Event::Redriven { id, queue: name });
        redriven += 1;
    }
    Ok(redriven)
}

/// The errors stay on the record: they are its history.
fn revive(record: &mut Record, due: Option<Due>) {
    record.attempts = 0;
    // Groups go in order as it is; a delay would hold up what stands behind it.
    let due = due.filter(|_| record.group().is_none());
    record.state = if due.is_some() { State::Scheduled } else { State::Pending };
    let extra = record.extra_mut();
    extra.due = due;
    extra.crashes = 0;
    extra.expiry = None;
    extra.reason = None;
    extra.started_at = None;
    extra.ended_at = None;
}

/// Replaces a dead letter's payload.
pub(crate) fn edit(batch: &mut Batch<'_>, id: JobId, payload: &Payload) -> Result<(), Error> {
    let (queue, at) = find(batch, id)?.ok_or(Error::NoSuchJob { id })?;
    let mut record = batch.dead_letter(queue, id, at)?.ok_or(Error::NoSuchJob { id })?;
    record.payload = payload.clone();
    batch.replace_dead_letter(queue, id, at, &record)?;
    Ok(())
}

/// Removes dead letters for good. Returns how many.
pub(crate) fn purge(batch: &mut Batch<'_>, ids: &[JobId]) -> Result<u64, Error> {
    let mut purged = 0;
    for &id in ids {
        if let Some((queue, at)) = find(batch, id)? {
            // One that cannot be read can be removed all the same.
            if let Ok(Some(record)) = batch.dead_letter(queue, id, at) {
                batch.free_key(queue, id, &record)?;
            }
            purged += u64::from(batch.remove_dead_letter(queue, id, at)?);
        }
    }
    Ok(purged)
}

fn find(batch: &mut Batch<'_>, id: JobId) -> Result<Option<(QueueId, Timestamp)>, Error> {
    Ok(match batch.locate(id)? {
        Some(Location { queue, place: Place::Dead { at } }) => Some((queue, at)),
        _ => None,
    })
}
