//! A job's life in the file. This file is the door: what happens to a job goes through [`Batch::apply`], or through one
//! of the verbs beside it whose moves depend on the home that the job is in ([`attempts`], [`promoting`],
//! [`unreadable`]). All of them tell the same facets.
//!
//! The rules of what follows what are in `job::life`. Here a [`Transition`] becomes rows:
//!
//! 1. the job leaves its **home**, the table that has its row: [`ready`], [`delayed`], [`groups`], [`blocked`] or [`ended`];
//! 2. each **facet** is told of it: [`counts`], [`index`], [`expiring`], [`unique`], [`tags`],
//!    [`flows`], [`job_steps`], [`started`]. A facet is what else the
//!    file has of jobs, and keeps it in step with their records. It reads the transition, and the job before and
//!    after; most facets have no rows of a plain job;
//! 3. the job enters its new home, if it has one.
//!
//! A home that meets a row which cannot be read does not repair anything: it notes the row (`Batch::unreadable`), and
//! the door moves it to the quarantine at the end of the verb ([`unreadable`]).
//!
//! Beside the jobs' facets, [`kept`] has what plugins keep, [`timed_keys`] the keys that are held for a time whatever becomes
//! of a job, and [`schedules`] the schedules. They do not depend on jobs;
//! a schedule's run enters through the door like any other job.

mod attempts;
pub(super) mod blocked;
pub(super) mod buckets;
pub(super) mod circuits;
pub(super) mod claims;
pub(super) mod counts;
pub(super) mod delayed;
mod dropping;
pub(super) mod ended;
mod entering;
pub(super) mod expiring;
mod facets;
pub(super) mod flows;
pub(super) mod groups;
mod homes;
mod id_set;
pub(super) mod index;
pub(super) mod job_steps;
pub(super) mod kept;
mod moved;
mod promoting;
pub(super) mod ready;
pub(super) mod removal;
pub(super) mod room;
pub(super) mod schedules;
pub(super) mod started;
pub(in crate::storage) mod steered;
pub(super) mod steering;
pub(super) mod tags;
pub(super) mod timed_keys;
pub(in crate::storage) mod topics;
pub(super) mod unique;
mod unreadable;
pub(super) mod verifier;
pub(super) mod waiting;

use std::sync::Arc;

use crate::job::{JobId, QueueId, Record, State, Transition, life};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::codec::encode_record;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::storage::rows::prepared::Prepared;
pub(crate) use homes::OldHome;
use moved::{Moved, Side, WithHandler};

/// What happens to one job: from where to where.
pub(crate) struct Move<'m> {
    pub id: JobId,
    pub queue: QueueId,
    pub transition: Transition,
    pub from: OldHome<'m>,
    pub to: NewHome<'m>,
}

/// Where a job goes.
pub(crate) enum NewHome<'m> {
    /// Nothing of it is kept.
    Nowhere,
    /// It waits or could run. `seq` is its place in the group, if it has one.
    Waiting { job: &'m mut Prepared, seq: u64 },
    /// It has ended in the state that its record says. It is in the file from now on only if it is `kept`.
    Ended { record: &'m Record, kept: bool },
}

impl NewHome<'_> {
    /// The group in which the job waits there.
    fn group(&self) -> Option<&Arc<str>> {
        match self {
            Self::Waiting { job, .. } => job.record().group(),
            Self::Nowhere | Self::Ended { .. } => None,
        }
    }
}

impl Batch<'_> {
    /// The door: moves a job and everything that depends on it. Returns whether its row was where it is taken from.
    #[inline]
    pub fn apply(&mut self, what: Move<'_>) -> Result<bool, Fault> {
        self.touch();
        let Move { id, queue, transition, from, to } = what;
        if matches!(transition, Transition::End(State::Dead)) {
            self.hold_group(queue, id, (&from, &to))?;
        }
        let was_there = self.leave_home(queue, id, &from, &to)?;
        if let OldHome::Place { place: Place::Dead { .. }, record, .. } = &from {
            self.release_group(queue, id, *record, transition)?;
        }
        let moved = Moved {
            id,
            queue,
            transition,
            from: if was_there { from.side() } else { None },
            to: None,
            was_indexed: was_there && from.is_indexed(),
            indexed: None,
            ended: None,
            handler: if matches!(from, OldHome::Handler { .. }) { WithHandler::Was } else { WithHandler::No },
        };
        match to {
            NewHome::Nowhere => self.tell_facets(&moved)?,
            NewHome::Waiting { job, seq } => self.enter_waiting(moved, job, seq)?,
            NewHome::Ended { record, kept: true } => self.enter_ended(moved, record)?,
            NewHome::Ended { record, kept: false } => self.tell_facets(&Moved { ended: Some(record), ..moved })?,
        }
        self.put_unreadable_aside()?;
        Ok(was_there)
    }

    /// Ends a job with this record, which says in which state. The job is kept if the retention of its queue says so, and the
    /// callers that wait for its end are told after the commit.
    pub fn end_job(
        &mut self,
        id: JobId,
        queue: QueueId,
        transition: Transition,
        from: OldHome<'_>,
        record: &Record,
    ) -> Result<(), Fault> {
        let has_result = record.extra.as_ref().is_some_and(|extra| extra.result.is_some());
        let kept = self.keeps(queue, record.state, has_result);
        self.apply(Move { id, queue, transition, from, to: NewHome::Ended { record, kept } })?;
        self.note_end(queue, id, || Some(record.clone()));
        Ok(())
    }

    /// Whether the queue keeps a job that has ended in this state.
    pub fn keeps(&mut self, queue: QueueId, state: State, has_result: bool) -> bool {
        life::is_kept(&self.retention(queue), state, has_result)
    }

    #[inline]
    fn enter_waiting(&mut self, moved: Moved<'_>, job: &mut Prepared, seq: u64) -> Result<(), Fault> {
        let (queue, id) = (moved.queue, moved.id);
        let waits = job.record().due().filter(|due| !due.is_due(self.now));
        let place = match (self.member_for(queue, job.record(), seq), waits) {
            _ if job.record().state == State::Blocked => Some(Place::Blocked),
            (Some(member), _) => Some(Place::Member(member)),
            (None, Some(due)) => Some(Place::Delayed { due }),
            (None, None) => None,
        };
        let record = job.record();
        // A member of a group is pending once it becomes the head, whatever the time.
        let state = if place.is_none() { State::Pending } else { record.state };
        let to = Some(Side { state, bytes: job.bytes.len() as u64, record: Some(record) });
        self.tell_facets(&Moved { to, indexed: place.as_ref(), ..moved })?;
        if let Some(caller) = job.caller() {
            self.callers.push((id, caller));
        }
        match &place {
            Some(Place::Member(member)) => self.join_group(queue, id, member, waits, job.bytes.clone()),
            Some(Place::Delayed { due }) => self.put_delayed(queue, id, *due, &job.bytes),
            Some(Place::Blocked) => self.put_blocked(queue, id, &job.bytes),
            _ => {
                let entry = job.entry(id);
                self.put_ready(queue, entry, &job.bytes);
                Ok(())
            }
        }
    }

    fn enter_ended(&mut self, moved: Moved<'_>, record: &Record) -> Result<(), Fault> {
        // Its age counts from here. When it ended by the wall clock, which may be wrong, is in its record.
        let (state, at) = (record.state, self.now.age);
        let place = if state == State::Dead { Place::Dead { at } } else { Place::Finished { state, at } };
        let bytes = encode_record(record);
        let to = Some(Side { state, bytes: bytes.len() as u64, record: Some(record) });
        let moved = Moved { to, indexed: Some(&place), ended: Some(record), ..moved };
        self.tell_facets(&moved)?;
        self.put_ended(moved.queue, moved.id, &place, &bytes)
    }
}

#[cfg(test)]
mod tests;
