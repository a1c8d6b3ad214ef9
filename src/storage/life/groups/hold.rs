//! A dead letter holds its group, in a queue with [`GroupPolicy::Hold`]: no member becomes a head until the dead letter has
//! left its place. A job that was a head already stays one.

use std::sync::Arc;

use super::row::HeldBy;
use crate::events::Event;
use crate::job::{GroupPolicy, JobId, QueueId, Record, State, Transition};
use crate::storage::life::{NewHome, OldHome};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::Place;
use crate::text::told;

impl Batch<'_> {
    /// A job is about to become a dead letter that is kept: its group is held by it, if the policy of the queue says so.
    /// Must be called before the job leaves its group.
    pub(in crate::storage::life) fn hold_group(
        &mut self,
        queue: QueueId,
        id: JobId,
        (from, to): (&OldHome<'_>, &NewHome<'_>),
    ) -> Result<(), Fault> {
        let NewHome::Ended { record, kept: true } = to else { return Ok(()) };
        let Some(group) = record.group().filter(|_| record.state == State::Dead) else { return Ok(()) };
        if self.queue_ref(queue).settings.groups != GroupPolicy::Hold {
            return Ok(());
        }
        let member = match from {
            OldHome::Place { place: Place::Member(member), .. } => Some((*member).clone()),
            OldHome::Handler { .. } => self.member(id)?,
            _ => None,
        };
        let row = self.group(queue, group)?;
        // If several members die, the first of them holds the group.
        let (Some(member), None) = (member, row.held_by()) else { return Ok(()) };
        self.put_group(queue, group, &row.held(HeldBy { id, seq: member.seq }))?;
        let (name, group) = (self.catalog().queue_name(queue), group.clone());
        tracing::warn!(queue = %name, group = &*told(&group), job = %id, "a dead letter holds its group");
        self.event(|| Event::GroupHeld { queue: name, group, id });
        Ok(())
    }

    /// A dead letter has left its place: its group is held no longer. Its next member becomes a head, unless the dead letter
    /// comes back as a member. Without a record, the group is searched for.
    pub(in crate::storage::life) fn release_group(
        &mut self,
        queue: QueueId,
        id: JobId,
        record: Option<&Record>,
        transition: Transition,
    ) -> Result<(), Fault> {
        let group = match record {
            Some(record) => record.group().cloned(),
            // A sweep knows the record of each dead letter that has a group.
            None if transition == Transition::Forget => None,
            None => self.group_held_by(queue, id)?,
        };
        let Some(group) = &group else { return Ok(()) };
        let row = self.group(queue, group)?;
        if row.held_by().is_none_or(|by| by.id != id) {
            return Ok(());
        }
        let row = row.released();
        match transition {
            Transition::Redrive => self.put_group(queue, group, &row)?,
            _ => self.fill(queue, group, row)?,
        }
        self.tell_released(queue, group, id);
        Ok(())
    }

    /// A dead letter that holds its group cannot be read, and is moved to the quarantine: the group is paused instead, so that
    /// nothing overtakes the job before an operator has looked.
    pub(in crate::storage::life) fn pause_held_by(&mut self, queue: QueueId, id: JobId) -> Result<(), Fault> {
        let Some(group) = self.group_held_by(queue, id)? else { return Ok(()) };
        self.pause_instead_of_hold(queue, &group)
    }

    /// Pauses a group that a job holds which is not a dead letter of the queue, in a damaged file.
    pub(in crate::storage) fn end_hold_of_no_dead_letter(&mut self, queue: QueueId, group: &str) -> Result<(), Fault> {
        let Some(by) = self.group(queue, group)?.held_by() else { return Ok(()) };
        match self.indexed(by.id)? {
            Some(location) if location.is_dead_letter_of(queue) => Ok(()),
            _ => self.pause_instead_of_hold(queue, &group.into()),
        }
    }

    fn pause_instead_of_hold(&mut self, queue: QueueId, group: &Arc<str>) -> Result<(), Fault> {
        self.touch();
        let row = self.group(queue, group)?;
        let Some(by) = row.held_by() else { return Ok(()) };
        let mut row = row.released().paused();
        self.pause_heads(queue, &mut row)?;
        self.fill(queue, group, row)?;
        self.tell_released(queue, group, by.id);
        let (queue, group) = (self.catalog().queue_name(queue), Some(group.clone()));
        self.event(|| Event::Paused { queue, group });
        Ok(())
    }

    /// The group that this job holds.
    fn group_held_by(&mut self, queue: QueueId, id: JobId) -> Result<Option<Arc<str>>, Fault> {
        let found = self.find_group(queue, |row| row.held_by().is_some_and(|by| by.id == id))?;
        Ok(found.map(|(group, _)| group))
    }

    pub(super) fn tell_released(&mut self, queue: QueueId, group: &Arc<str>, id: JobId) {
        let (queue, group) = (self.catalog().queue_name(queue), group.clone());
        self.event(|| Event::GroupReleased { queue, group, id });
    }

    /// The place in its group that a dead letter gets when it is redriven: its old one if it holds the group, and otherwise the
    /// last one.
    pub fn seq_of_redriven(&mut self, queue: QueueId, id: JobId, group: Option<&Arc<str>>) -> Result<u64, Fault> {
        if let Some(group) = group
            && let Some(by) = self.group(queue, group)?.held_by().filter(|by| by.id == id)
        {
            return Ok(by.seq);
        }
        Ok(self.next_number())
    }
}
