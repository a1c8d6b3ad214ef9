//! The changes that an operator makes to a queue or to one waiting job.

use std::sync::Arc;

use crate::error::Error;
use crate::events::Event;
use crate::job::life;
use crate::job::{Change, JobId, Order, Patch, QueueId, QueueSettings, State};
use crate::storage::{Batch, KnownQueue, Location, Move, NewHome, Place, Prepared};

pub(crate) fn set_settings(batch: &mut Batch<'_>, queue: &str, settings: &QueueSettings) -> Result<(), Error> {
    let queue = batch.queue_named(queue)?;
    batch.queue_mut(queue).settings = settings.clone();
    Ok(())
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

/// Frees a unique key. Returns false if it was free.
pub(crate) fn release_unique_key(batch: &mut Batch<'_>, queue: &str, key: &str) -> Result<bool, Error> {
    match batch.find_queue(queue) {
        Some(queue) => Ok(batch.release_unique_key(queue, key)?),
        None => Ok(false),
    }
}

/// The waiting job to change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub id: JobId,
    /// The queue in which a reader has found it.
    pub queue: KnownQueue,
    /// It was handed out.
    pub is_taken: bool,
}

/// Ends a waiting job as cancelled. Returns false if it was cancelled already.
pub(crate) fn cancel(batch: &mut Batch<'_>, target: Target, reason: &str) -> Result<bool, Error> {
    let id = target.id;
    let (queue, place) = match find(batch, target, "cancel") {
        Err(Error::NotAllowed { state: State::Cancelled, .. }) => return Ok(false),
        found => found?,
    };
    let stored = batch.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
    let mut record = stored.record.clone();
    let transition = life::cancel(&mut record, reason, batch.now);
    let kept = batch.keeps(queue, record.state, false);
    let to = if kept { NewHome::Ended { record: &record } } else { NewHome::Nowhere };
    batch.apply(Move { id, queue, transition, from: stored.from(), to })?;
    let (name, kind) = (batch.catalog().queue_name(queue), batch.catalog().kind_name(record.kind));
    batch.event(|| Event::Cancelled { id, queue: name, kind, reason: reason.to_owned() });
    Ok(true)
}

/// Changes a waiting job. It keeps its id, and its position within its group.
pub(crate) fn update(batch: &mut Batch<'_>, target: Target, patch: &Patch) -> Result<(), Error> {
    let id = target.id;
    let (queue, place) = find(batch, target, "change")?;
    let stored = batch.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
    let mut record = stored.record.clone();
    let transition = life::steer(&mut record, patch, batch.now);
    let seq = match &stored.place {
        Place::Member(member) => member.seq,
        _ => id.get(),
    };
    let job = &mut Prepared::new(queue, record, None);
    batch.apply(Move { id, queue, transition, from: stored.from(), to: NewHome::Waiting { job, seq } })?;
    Ok(())
}

/// The place of a waiting job.
///
/// # Errors
///
/// [`Error::NotAllowed`] with the job's state if the job does not wait.
fn find(batch: &mut Batch<'_>, target: Target, action: &'static str) -> Result<(QueueId, Place), Error> {
    let (queue, place) = find_free(batch, target, action)?;
    let refuse = |state| Err(Error::NotAllowed { action, id: target.id, state });
    match place {
        Place::Dead { .. } => refuse(State::Dead),
        Place::Finished { state, .. } => refuse(state),
        place => Ok((queue, place)),
    }
}

/// The place of a job that waits or has ended.
///
/// # Errors
///
/// [`Error::NotAllowed`] if a handler has the job.
pub(super) fn find_free(
    batch: &mut Batch<'_>,
    target: Target,
    action: &'static str,
) -> Result<(QueueId, Place), Error> {
    let Target { id, queue, is_taken } = target;
    let Some(Location { queue, place }) = batch.locate_known(id, queue)? else { return Err(batch.missing(id)) };
    if is_taken && !place.has_ended() {
        return Err(Error::NotAllowed { action, id, state: State::Running });
    }
    Ok((queue, place))
}
