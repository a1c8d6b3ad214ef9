//! Steering: what an operator asks of a queue or of one waiting job.

use std::sync::Arc;

use crate::error::Error;
use crate::events::Event;
use crate::job::{Change, JobId, Order, Payload, Priority, QueueId, QueueSettings, Record, State};
use crate::storage::{Batch, KnownQueue, Place, Prepared};
use crate::time::{Due, Timestamp};

/// What to change of a waiting job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Patch {
    pub payload: Option<Payload>,
    pub priority: Option<Priority>,
    /// A new time; the epoch is "now".
    pub run_at: Option<Timestamp>,
}

pub(crate) fn set_settings(batch: &mut Batch<'_>, queue: &str, settings: &QueueSettings) -> Result<(), Error> {
    let queue = batch.queue_named(queue)?;
    batch.queue_mut(queue).settings = settings.clone();
    Ok(())
}

/// The queue that is to be paused or to go on. One of which nothing is stored goes on as it is.
fn steered(batch: &mut Batch<'_>, queue: &str, paused: bool) -> Result<Option<QueueId>, Error> {
    if paused { batch.queue_named(queue).map(Some) } else { Ok(batch.find_queue(queue)) }
}

/// False if it was so already.
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

/// False if it was so already.
pub(crate) fn pause_group(
    batch: &mut Batch<'_>,
    queue: &str,
    group: &Arc<str>,
    paused: bool,
    flying: impl Fn(JobId) -> Option<Order>,
) -> Result<bool, Error> {
    let Some(queue) = steered(batch, queue, paused)? else { return Ok(false) };
    let changed = batch.pause_group(queue, group, paused, flying)?;
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

/// The waiting job that is to be changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub id: JobId,
    /// Where a reader has found it.
    pub queue: KnownQueue,
    /// A handler has it already.
    pub is_taken: bool,
}

/// Ends a waiting job as cancelled. False if it was cancelled already.
pub(crate) fn cancel(batch: &mut Batch<'_>, target: Target, reason: &str) -> Result<bool, Error> {
    let id = target.id;
    let (queue, place) = match find(batch, target, "cancel") {
        Err(Error::NotAllowed { state: State::Cancelled, .. }) => return Ok(false),
        found => found?,
    };
    let mut record = take(batch, queue, id, &place, false)?;
    batch.free_key(queue, id, &record)?;
    record.state = State::Cancelled;
    let extra = record.extra_mut();
    extra.reason = Some(reason.to_owned());
    extra.ended_at = Some(batch.now.wall);
    batch.queue_mut(queue).tally.cancelled_total += 1;
    if batch.queue_ref(queue).settings.retention.cancelled.count > 0 {
        batch.keep_ended(queue, id, &record)?;
    }
    let (name, kind) = (batch.catalog().queue_name(queue), batch.catalog().kind_name(record.kind));
    batch.event(|| Event::Cancelled { id, queue: name, kind, reason: reason.to_owned() });
    Ok(true)
}

/// Changes a waiting job. It keeps its id, and within a group its place in line.
pub(crate) fn update(batch: &mut Batch<'_>, target: Target, patch: &Patch) -> Result<(), Error> {
    let id = target.id;
    let (queue, place) = find(batch, target, "change")?;
    let mut record = take(batch, queue, id, &place, true)?;
    if let Some(payload) = &patch.payload {
        record.payload = payload.clone();
    }
    if let Some(priority) = patch.priority {
        record.priority = priority;
    }
    if let Some(at) = patch.run_at {
        record.extra_mut().due = Some(Due::wall(at)).filter(|due| !due.is_due(batch.now));
    }
    let waits = record.due().is_some_and(|due| !due.is_due(batch.now));
    record.state = match (waits, record.attempts) {
        (false, _) => State::Pending,
        (true, 0) => State::Scheduled,
        (true, _) => State::Retrying,
    };
    let seq = match &place {
        Place::Member(member) => member.seq,
        _ => id.get(),
    };
    batch.insert_as(id, seq, &mut Prepared::new(queue, record, None))?;
    Ok(())
}

fn take(batch: &mut Batch<'_>, queue: QueueId, id: JobId, place: &Place, comes_back: bool) -> Result<Record, Error> {
    batch.take_waiting(queue, id, place, comes_back)?.ok_or(Error::NoSuchJob { id })
}

/// A waiting job's place; refused by name if it does not wait.
fn find(batch: &mut Batch<'_>, target: Target, action: &'static str) -> Result<(QueueId, Place), Error> {
    let Target { id, queue, is_taken } = target;
    let Some(location) = batch.locate_known(id, queue)? else { return Err(batch.missing(id)) };
    let refuse = |state| Err(Error::NotAllowed { action, id, state });
    match location.place {
        Place::Dead { .. } => refuse(State::Dead),
        Place::Finished { state, .. } => refuse(state),
        _ if is_taken => refuse(State::Running),
        place => Ok((location.queue, place)),
    }
}
