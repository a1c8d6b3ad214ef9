//! Verb: the oldest jobs of a full queue end, so that new ones have room. Only jobs that could start now: those of `ready`, and the
//! members of groups from their heads on. A job that a handler has is passed over, and so is one whose handler has to undo steps.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::ops::Bound;

use redb::ReadableTable;

use super::room::Share;
use super::waiting::Stored;
use super::{Move, NewHome};
use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, Priority, QueueId, WhenFull, Withdraw, Withdrawn, life};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::untrusted::HeadValue;
use crate::storage::rows::version::{DROPPING_VERSION, raise_to};

/// How many jobs make room for one call, at most. A call that needs more is refused: it must not delay all others.
const DROPPED_AT_ONCE_MAX: usize = 10_000;

/// How many jobs that cannot be dropped are passed over, at most.
const PASSED_OVER_MAX: usize = 10_000;

/// A job that could be dropped, and where the next ones are.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    /// In `ready`, with this priority.
    Ready(u8),
    /// The head of a group at this position.
    Head { priority: u8, position: u64, seq: u64, group: String },
    /// Behind the head of its group.
    Member { seq: u64, group: String },
}

/// The jobs that could be dropped, the smallest id first. A group's job comes only after those before it in its group.
struct Candidates {
    queue: QueueId,
    next: BinaryHeap<Reverse<(u64, From)>>,
}

impl Candidates {
    fn of(batch: &mut Batch<'_>, queue: QueueId) -> Result<Self, Fault> {
        let mut candidates = Self { queue, next: BinaryHeap::new() };
        for priority in Priority::FIRST.get()..=Priority::LAST.get() {
            candidates.add_ready(batch, priority, Bound::Included(0))?;
            candidates.add_head(batch, priority, Bound::Included(0))?;
        }
        Ok(candidates)
    }

    fn add_ready(&mut self, batch: &mut Batch<'_>, priority: u8, from: Bound<u64>) -> Result<(), Fault> {
        let range = (from.map(|id| (self.queue, priority, id)), Bound::Included((self.queue, priority, u64::MAX)));
        if let Some(row) = batch.tables.ready()?.range(range)?.next() {
            self.next.push(Reverse((row?.0.value().2, From::Ready(priority))));
        }
        Ok(())
    }

    fn add_head(&mut self, batch: &mut Batch<'_>, priority: u8, from: Bound<u64>) -> Result<(), Fault> {
        let range = (from.map(|at| (self.queue, priority, at)), Bound::Included((self.queue, priority, u64::MAX)));
        for row in batch.tables.heads()?.range(range)? {
            let (key, value) = row?;
            // A damaged row is found by those who need it.
            if let Some((id, seq, group)) = HeadValue::decode(value.value()) {
                let head = From::Head { priority, position: key.value().2, seq, group: group.to_owned() };
                self.next.push(Reverse((id, head)));
                break;
            }
        }
        Ok(())
    }

    fn add_member(&mut self, batch: &mut Batch<'_>, group: String, seq: u64, id: u64) -> Result<(), Fault> {
        let behind = Bound::Excluded((self.queue, group.as_str(), 0, seq, id));
        let end = Bound::Included((self.queue, group.as_str(), 0, u64::MAX, u64::MAX));
        let next = batch.tables.members()?.range((behind, end))?.next().transpose()?;
        if let Some((key, _)) = next {
            let (_, _, _, seq, id) = key.value();
            self.next.push(Reverse((id, From::Member { seq, group })));
        }
        Ok(())
    }

    fn next(&mut self, batch: &mut Batch<'_>) -> Result<Option<JobId>, Fault> {
        let Some(Reverse((id, from))) = self.next.pop() else { return Ok(None) };
        match from {
            From::Ready(priority) => self.add_ready(batch, priority, Bound::Excluded(id))?,
            From::Head { priority, position, seq, group } => {
                self.add_head(batch, priority, Bound::Excluded(position))?;
                self.add_member(batch, group, seq, id)?;
            }
            From::Member { seq, group } => self.add_member(batch, group, seq, id)?,
        }
        Ok(Some(JobId::new(id)))
    }
}

impl Batch<'_> {
    /// From this commit on, builds that cannot drop jobs refuse the file.
    pub fn may_drop(&mut self) -> Result<(), Fault> {
        raise_to(&mut self.tables, DROPPING_VERSION)
    }

    /// Checks that every queue has room for its share of new jobs. Where a full queue says so, its oldest jobs end for that, except the
    /// `spared` ones. If a queue has no room, nothing is written.
    ///
    /// # Errors
    /// [`Error::QueueFull`].
    pub fn make_room(
        &mut self,
        shares: &[Share],
        spared: &HashSet<JobId>,
        dispatch: &dyn Withdraw,
    ) -> Result<(), Error> {
        let mut dropped = Vec::new();
        for share in shares {
            if let Err(full) = self.room_for(share.queue, share.jobs, share.bytes) {
                if !self.drops_for(share) {
                    return Err(full);
                }
                let oldest = self.oldest_to_drop(share, spared, dispatch)?.ok_or(full)?;
                dropped.extend(oldest.into_iter().map(|id| (share.queue, id)));
            }
        }
        dropped.into_iter().try_for_each(|(queue, id)| Ok(self.drop_job(queue, id)?))
    }

    /// Whether jobs of the queue end if it has no room for its share. A share that it can never hold is not worth it.
    pub fn drops_for(&mut self, share: &Share) -> bool {
        let settings = &self.queue_ref(share.queue).settings;
        settings.when_full == WhenFull::DropOldest && settings.capacity.admits(share.jobs, share.bytes)
    }

    /// The oldest jobs without which the queue has room. `None` if there are not enough of them.
    fn oldest_to_drop(
        &mut self,
        share: &Share,
        spared: &HashSet<JobId>,
        dispatch: &dyn Withdraw,
    ) -> Result<Option<Vec<JobId>>, Fault> {
        let Share { queue, .. } = *share;
        let row = self.queue_ref(queue);
        let capacity = row.settings.capacity;
        let (mut jobs, mut bytes) = (row.tally.unfinished() + share.jobs, row.tally.bytes + share.bytes);
        let mut candidates = Candidates::of(self, queue)?;
        let (mut seen, mut oldest) = (HashSet::new(), Vec::new());
        while !capacity.admits(jobs, bytes) {
            let Some(id) = candidates.next(self)? else { return Ok(None) };
            if oldest.len() == DROPPED_AT_ONCE_MAX || seen.len() == PASSED_OVER_MAX + oldest.len() {
                return Ok(None);
            }
            // A group can have several heads, each of which is also behind another one.
            if !seen.insert(id) || spared.contains(&id) || dispatch.withdraw(id) != Withdrawn::Waits {
                continue;
            }
            if let Some(stored) = self.droppable(queue, id)? {
                (jobs, bytes) = (jobs.saturating_sub(1), bytes.saturating_sub(stored.bytes as u64));
                oldest.push(id);
            }
        }
        Ok(Some(oldest))
    }

    /// The job, if it can be read and has no steps to undo.
    fn droppable(&mut self, queue: QueueId, id: JobId) -> Result<Option<Stored>, Fault> {
        let Some(place) = self.waits_at(queue, id)? else { return Ok(None) };
        let stored = match self.stored(queue, id, place) {
            Ok(Some(stored)) => stored,
            Ok(None) | Err(Fault::Corrupt { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let undoes = stored.record.undo().is_some() || self.has_steps_to_undo(id, &stored.record)?;
        Ok((!undoes).then_some(stored))
    }

    /// Ends a job for which there is no room any more. It is not kept, because the queue is full.
    fn drop_job(&mut self, queue: QueueId, id: JobId) -> Result<(), Fault> {
        // It is read again: it has another place and state if the job before it in its group was dropped.
        let Some(stored) = self.droppable(queue, id)? else { return Ok(()) };
        let mut record = stored.record.clone();
        let transition = life::drop_oldest(&mut record, self.now);
        let to = NewHome::Ended { record: &record, kept: false };
        self.apply(Move { id, queue, transition, from: stored.from(), to })?;
        self.note_end(queue, id, || Some(record.clone()));
        // A job that was given back has a mark.
        self.unmark(id)?;
        self.count_dropped(queue);
        let (name, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(record.kind));
        self.event(|| Event::Cancelled { id, queue: name, kind, reason: life::DROPPED.to_owned() });
        Ok(())
    }
}
