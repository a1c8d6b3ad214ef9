//! Verbs on jobs that wait for a handler or have ended: what an operator, an expiry or retention does to them.

use std::sync::Arc;

use super::ended::SweepRoom;
use super::expiring::Expiring;
use super::{Move, NewHome, OldHome};
use crate::job::{JobId, Order, QueueId, Record, State, Transition, life};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::decode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Location, Place};
use crate::storage::rows::prepared::Prepared;
use crate::time::Timestamp;

/// A job that was read at its place.
pub(crate) struct Stored {
    pub place: Place,
    pub record: Record,
    /// How many bytes its row has.
    pub bytes: usize,
}

impl Stored {
    /// The home that it is moved from.
    pub fn from(&self) -> OldHome<'_> {
        // A job in `ready` is pending whatever it once waited for.
        let is_ready = matches!(self.place, Place::Ready { .. });
        let state = if is_ready { State::Pending } else { self.record.state };
        OldHome::Place { place: &self.place, state, record: Some(&self.record), bytes: self.bytes }
    }
}

impl Batch<'_> {
    /// The job at this place; `None` if it is not there.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn stored(&mut self, queue: QueueId, id: JobId, place: Place) -> Result<Option<Stored>, Fault> {
        let Some(row) = self.row_at(queue, id, &place)? else { return Ok(None) };
        let record = decode_record(place.table(), id.get(), &row)?;
        Ok(Some(Stored { place, record, bytes: row.len() }))
    }

    /// Gives a waiting job another record. It keeps its id, and its position within its group.
    pub fn rewrite_waiting(
        &mut self,
        id: JobId,
        queue: QueueId,
        stored: &Stored,
        record: Record,
        transition: Transition,
    ) -> Result<(), Fault> {
        let seq = match &stored.place {
            Place::Member(member) => member.seq,
            _ => id.get(),
        };
        let job = &mut Prepared::new(queue, record, None);
        self.apply(Move { id, queue, transition, from: stored.from(), to: NewHome::Waiting { job, seq } })?;
        Ok(())
    }

    /// Moves a job that waits or is a dead letter to another queue. It keeps its id, and joins the end of its group there.
    /// Its unique key is free in the old queue; in the new one no other job may hold it.
    pub fn move_job(&mut self, id: JobId, queue: QueueId, stored: Stored, to: QueueId) -> Result<(), Fault> {
        let nowhere = NewHome::Nowhere;
        self.apply(Move { id, queue, transition: Transition::MoveOut, from: stored.from(), to: nowhere })?;
        let (transition, from) = (Transition::MoveIn, OldHome::Nowhere);
        let record = stored.record;
        if record.state.is_final() {
            let home = NewHome::Ended { record: &record, kept: true };
            self.apply(Move { id, queue: to, transition, from, to: home })?;
        } else {
            let seq = if record.group().is_some() { self.next_number() } else { id.get() };
            let job = &mut Prepared::new(to, record, None);
            self.apply(Move { id, queue: to, transition, from, to: NewHome::Waiting { job, seq } })?;
        }
        Ok(())
    }

    /// Ends a job that has expired, and returns its record and how many bytes it took; nothing if no such job waits there.
    pub fn expire(&mut self, expiring: Expiring) -> Result<Option<(Record, usize)>, Fault> {
        let Expiring { due, queue, id } = expiring;
        let found = match self.waits_at(queue, id)? {
            Some(place) => self.stored(queue, id, place),
            None => Ok(None),
        };
        let stored = match found {
            Ok(Some(stored)) if stored.record.expiry() == Some(due) => stored,
            Ok(_) => return self.expires_not(expiring).map(|()| None),
            Err(Fault::Corrupt { .. }) => {
                self.quarantine_job(id)?;
                return self.expires_not(expiring).map(|()| None);
            }
            Err(fault) => return Err(fault),
        };
        let mut record = stored.record.clone();
        let transition = life::expire(&mut record, self.now);
        self.end_job(id, queue, transition, stored.from(), &record)?;
        Ok(Some((record, stored.bytes)))
    }

    /// The place of a job of this queue that has not ended.
    pub(super) fn waits_at(&mut self, queue: QueueId, id: JobId) -> Result<Option<Place>, Fault> {
        let Some(Location { queue: of, place }) = self.locate_in(queue, id)? else { return Ok(None) };
        Ok((of == queue && !place.has_ended()).then_some(place))
    }

    /// Removes what retention no longer keeps of one queue, as long as there is room. Returns how many jobs that were.
    pub fn prune(&mut self, queue: QueueId, room: &mut SweepRoom) -> Result<u64, Fault> {
        let old = self.no_longer_kept(queue, room)?;
        for job in &old {
            let state = match job.place {
                Place::Finished { state, .. } => state,
                _ => State::Dead,
            };
            let from = OldHome::Place { place: &job.place, state, record: job.record.as_deref(), bytes: job.bytes };
            self.apply(Move { id: job.id, queue, transition: Transition::Forget, from, to: NewHome::Nowhere })?;
        }
        Ok(old.len() as u64)
    }

    /// Removes a dead letter for good, also one that cannot be read. Returns how many bytes it had, `None` if there is
    /// none.
    pub fn purge_dead_letter(&mut self, queue: QueueId, id: JobId, at: Timestamp) -> Result<Option<usize>, Fault> {
        let place = &Place::Dead { at };
        let Some(row) = self.row_at(queue, id, place)? else { return Ok(None) };
        let record = decode_record(place.table(), id.get(), &row).ok();
        let from = OldHome::Place { place, state: State::Dead, record: record.as_ref(), bytes: row.len() };
        self.apply(Move { id, queue, transition: Transition::Purge, from, to: NewHome::Nowhere })?;
        Ok(Some(row.len()))
    }

    /// Pauses or resumes a group. A head that runs finishes. Returns false if the group was in that state already.
    ///
    /// `handed_out` says in which order dispatch has handed a job out, if it has.
    pub fn pause_group(
        &mut self,
        queue: QueueId,
        group: &Arc<str>,
        paused: bool,
        handed_out: impl Fn(JobId) -> Option<Order>,
    ) -> Result<bool, Fault> {
        let changed = self.set_paused(queue, group, paused, handed_out)?;
        self.put_unreadable_aside()?;
        Ok(changed)
    }

    /// Lets as many jobs run as the settings of the queue say, in at most `groups_max` of the groups behind `after`. Returns the
    /// last of them, if others may follow.
    pub fn fill_groups(
        &mut self,
        queue: QueueId,
        after: Option<&str>,
        groups_max: usize,
    ) -> Result<Option<Arc<str>>, Fault> {
        let last = self.fill_some(queue, after, groups_max)?;
        self.put_unreadable_aside()?;
        Ok(last)
    }
}
