//! Verbs: an operator, or a transaction, cancels or changes one job.

use std::sync::Arc;

use crate::error::Error;
use crate::events::Event;
use crate::job::{CancelOutcome, EndedJob, JobId, Order, Patch, QueueId, State, life};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::place::{KnownQueue, Location, Place};
use crate::time::Timestamp;

/// The job to change. It is withdrawn from dispatch, so that it does not start meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub id: JobId,
    /// The queue in which a reader has found it.
    pub queue: KnownQueue,
    /// The position from which it was handed out, if a handler has it.
    pub taken: Option<Order>,
}

impl Batch<'_> {
    /// Ends a waiting job as cancelled, or requests that of a running one.
    pub fn cancel_job(&mut self, target: Target, reason: &str) -> Result<CancelOutcome, Error> {
        let id = target.id;
        let Some(Location { queue, place }) = self.locate_known(id, target.queue)? else {
            return Err(self.missing(id));
        };
        match place {
            Place::Dead { .. } => return Ok(CancelOutcome::AlreadyEnded(State::Dead)),
            Place::Finished { state, .. } => return Ok(CancelOutcome::AlreadyEnded(state)),
            _ => {}
        }
        let stored = self.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
        if stored.record.undo().is_some() {
            return Ok(CancelOutcome::Requested);
        }
        if let Some(order) = target.taken
            && !self.has_returned(id)
        {
            self.request_cancel(queue, id, order, reason)?;
            return Ok(CancelOutcome::Requested);
        }
        let mut record = stored.record.clone();
        if self.has_steps_to_undo(id, &record)? {
            let transition = life::undo_waiting(&mut record, reason);
            self.tell_undoing(id, queue, &record);
            self.rewrite_waiting(id, queue, &stored, record, transition)?;
            self.unmark(id)?;
            return Ok(CancelOutcome::Requested);
        }
        let transition = life::cancel(&mut record, reason, self.now);
        self.end_job(id, queue, transition, stored.from(), &record)?;
        // A job that was given back unstarted after its cancel was requested has a mark.
        self.unmark(id)?;
        let (name, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(record.kind));
        self.event(|| Event::Cancelled { id, queue: name, kind, reason: reason.to_owned() });
        Ok(CancelOutcome::Cancelled)
    }

    /// The names of a job's queue and kind.
    pub fn queue_and_kind_of(&mut self, id: JobId) -> Result<(Arc<str>, Arc<str>), Error> {
        let Some(Location { queue, place }) = self.locate(id)? else { return Err(self.missing(id)) };
        let stored = self.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
        Ok((self.queue(queue).name, self.catalog().kind_name(stored.record.kind)))
    }

    /// The job, if it has ended; `None` if it waits or runs.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchJob`].
    pub fn ended_job(&mut self, id: JobId, queue: KnownQueue) -> Result<Option<EndedJob>, Error> {
        let Some(Location { queue, place }) = self.locate_known(id, queue)? else { return Err(self.missing(id)) };
        if !place.has_ended() {
            return Ok(None);
        }
        let stored = self.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
        Ok(Some(EndedJob { id, queue, record: Some(stored.record) }))
    }

    /// Changes a waiting job. It keeps its id, and its position within its group.
    pub fn update_job(&mut self, target: Target, patch: &Patch) -> Result<(), Error> {
        let id = target.id;
        let (queue, place) = self.find_waiting(target, "change")?;
        let stored = self.stored(queue, id, place)?.ok_or(Error::NoSuchJob { id })?;
        let mut record = stored.record.clone();
        let transition = life::steer(&mut record, patch, self.now);
        self.rewrite_waiting(id, queue, &stored, record, transition)?;
        // A blocked job that is to run now does not wait for others any more.
        if stored.place == Place::Blocked && patch.run_at == Some(Timestamp::EPOCH) {
            self.release_blocked(queue, id)?;
        }
        Ok(())
    }

    /// The place of a waiting job.
    ///
    /// # Errors
    ///
    /// [`Error::NotAllowed`] with the job's state if the job does not wait.
    fn find_waiting(&mut self, target: Target, action: &'static str) -> Result<(QueueId, Place), Error> {
        let (queue, place) = self.find_free(target, action)?;
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
    pub fn find_free(&mut self, target: Target, action: &'static str) -> Result<(QueueId, Place), Error> {
        let Target { id, queue, taken } = target;
        let Some(Location { queue, place }) = self.locate_known(id, queue)? else { return Err(self.missing(id)) };
        if taken.is_some() && !place.has_ended() {
            return Err(Error::NotAllowed { action, id, state: State::Running });
        }
        Ok((queue, place))
    }
}
