//! Verbs: a queue is removed with all that belongs to it, or gets another name.
//!
//! A queue with many jobs is removed in several commits. Each removes whole jobs, with everything that depends on them, so
//! the file is in order after each. The last one finds that nothing is left and removes the queue's row, and with it the name
//! and the number.

use std::sync::Arc;

use redb::ReadableTable;

use super::ended::SweepRoom;
use super::unreadable::presumed_state;
use super::{Move, NewHome, OldHome};
use crate::error::Error;
use crate::events::Event;
use crate::job::{JobId, QueueId, State, Transition, Withdraw};
use crate::storage::rows::batch::Batch;
use crate::storage::rows::catalog::IN_USE;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::place::{Member, Place, is_pointer};
use crate::storage::rows::tally::Tally;
use crate::time::{Due, TimeLine, Timestamp};

/// Why a queue cannot be removed or renamed that belongs to a consumer of a stream.
const OF_CONSUMER: &str = "it is the queue of a consumer of a stream: remove the consumer";

/// Why a queue is not removed or renamed while one of its jobs runs.
const RUNS: &str = "a job of it runs, or has just ended: stop its worker, and wait until its jobs have ended";

/// How far the removal of a queue has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Jobs that this commit has removed, in whatever state.
    pub jobs: u64,
    pub schedules: u64,
    /// Bindings of topics.
    pub bindings: u64,
    /// Nothing of the queue is left.
    pub is_gone: bool,
    /// The queue was there before this commit.
    pub was_there: bool,
}

/// A job that is to be removed.
struct Doomed {
    id: JobId,
    place: Place,
}

/// Removes rows of a queue, at most so many. Returns how many.
type RemoveRows<B> = fn(&mut B, QueueId, usize) -> Result<usize, Fault>;

impl Batch<'_> {
    /// The number of a queue that has a row as of the last commit, and in this batch.
    fn stored_queue(&self, name: &str) -> Option<QueueId> {
        self.find_queue(name).filter(|queue| self.catalog().is_stored(*queue) && !self.is_removed(*queue))
    }

    /// Checks that no worker uses a queue, and that none of its jobs runs.
    fn check_unused(&mut self, queue: QueueId, name: &str, runs: impl Fn(QueueId) -> bool) -> Result<(), Error> {
        let in_use = |reason| Err(Error::QueueInUse { queue: name.to_owned(), reason });
        match () {
            () if self.catalog().is_in_use(queue) => in_use(IN_USE),
            () if runs(queue) => in_use(RUNS),
            () if self.consumer(queue)?.is_some() => in_use(OF_CONSUMER),
            () => Ok(()),
        }
    }

    /// Looks at `rows_max` schedules after the name `after`, and removes those that enqueue in a queue. Returns how many, and
    /// the name after which to continue, `None` at the end.
    ///
    /// # Errors
    /// [`Error::QueueInUse`], before anything was removed.
    pub fn remove_schedules_of(
        &mut self,
        queue: &str,
        after: &str,
        rows_max: usize,
        runs: impl Fn(QueueId) -> bool,
    ) -> Result<(u64, Option<String>), Error> {
        if let Some(id) = self.find_queue(queue) {
            self.check_unused(id, queue, runs)?;
        }
        let (names, next) = self.schedules_of(queue, after, rows_max)?;
        for name in &names {
            self.remove_schedule(name)?;
        }
        Ok((names.len() as u64, next))
    }

    /// Removes as much of a queue as `room` allows. Nothing of it may run: `runs` says whether something does.
    ///
    /// # Errors
    /// [`Error::QueueInUse`], before anything was removed in this batch.
    pub fn remove_queue(
        &mut self,
        name: &str,
        mut room: SweepRoom,
        dispatch: &dyn Withdraw,
        runs: impl Fn(QueueId) -> bool,
    ) -> Result<Removal, Error> {
        let Some(queue) = self.stored_queue(name) else {
            return Ok(Removal { is_gone: true, ..Removal::default() });
        };
        let mut done = Removal { was_there: true, ..Removal::default() };
        self.check_unused(queue, name, runs)?;
        done.jobs = self.remove_jobs_of(queue, name, &mut room, dispatch)?;
        if room.is_used_up() || !self.remove_rest_of(queue, &mut room)? {
            return Ok(done);
        }
        let (schedules, _) = self.schedules_of(name, "", usize::MAX)?;
        for schedule in &schedules {
            self.remove_schedule(schedule)?;
        }
        done.schedules = schedules.len() as u64;
        done.bindings = self.remove_bindings_to(queue)?;
        self.forget_overrides(queue)?;
        self.remove_queue_row(queue);
        let name: Arc<str> = name.into();
        self.event(|| Event::QueueRemoved { queue: name });
        Ok(Removal { is_gone: true, ..done })
    }

    /// Removes a queue that has no jobs, not even in the quarantine, in which no schedule enqueues, and to which no binding of a
    /// topic leads, as [`Self::remove_queue`] does.
    ///
    /// # Errors
    /// [`Error::QueueInUse`] and [`Error::QueueNotEmpty`], before anything was removed in this batch.
    pub fn remove_empty_queue(
        &mut self,
        name: &str,
        room: SweepRoom,
        dispatch: &dyn Withdraw,
        runs: impl Fn(QueueId) -> bool,
    ) -> Result<Removal, Error> {
        if let Some(queue) = self.stored_queue(name) {
            self.check_unused(queue, name, &runs)?;
            let has_jobs = !self.jobs_of(queue, SweepRoom { rows: 1, bytes: 1 })?.is_empty();
            let schedules = self.schedules_of(name, "", usize::MAX)?.0.len() as u64;
            let quarantined = self.count_quarantined_of(queue)? as u64;
            let bindings = self.bindings_to(queue);
            if has_jobs || schedules > 0 || quarantined > 0 || bindings > 0 {
                let jobs = all_jobs(&self.queue_ref(queue).tally) + quarantined;
                return Err(Error::QueueNotEmpty { queue: name.to_owned(), jobs, schedules, bindings });
            }
        }
        self.remove_queue(name, room, dispatch, runs)
    }

    /// Gives a queue another name, and points the schedules to it that enqueue in it.
    ///
    /// # Errors
    /// [`Error::NoSuchQueue`], [`Error::QueueInUse`] and [`Error::QueueExists`], before anything was changed.
    pub fn rename_queue(&mut self, from: &str, to: &Arc<str>, runs: impl Fn(QueueId) -> bool) -> Result<(), Error> {
        let Some(queue) = self.stored_queue(from) else { return Err(Error::NoSuchQueue { queue: from.to_owned() }) };
        if *from == **to {
            return Ok(());
        }
        self.check_unused(queue, from, runs)?;
        self.rename_queue_row(queue, to)?;
        for schedule in self.schedules_of(from, "", usize::MAX)?.0 {
            self.point_schedule_to(&schedule, to)?;
        }
        let (from, to) = (from.into(), to.clone());
        self.event(|| Event::QueueRenamed { from, to });
        Ok(())
    }

    /// Removes jobs of a queue, whether they wait or have ended. Returns how many.
    fn remove_jobs_of(
        &mut self,
        queue: QueueId,
        name: &str,
        room: &mut SweepRoom,
        dispatch: &dyn Withdraw,
    ) -> Result<u64, Error> {
        let jobs = self.jobs_of(queue, *room)?;
        if jobs.iter().any(|job| !job.place.has_ended() && dispatch.withdraw(job.id).taken_from().is_some()) {
            return Err(Error::QueueInUse { queue: name.to_owned(), reason: RUNS });
        }
        for Doomed { id, place } in &jobs {
            room.rows = room.rows.saturating_sub(1);
            room.bytes = room.bytes.saturating_sub(self.remove_job(queue, *id, place)? as u64);
        }
        Ok(jobs.len() as u64)
    }

    /// Removes a job, with a record that can be read or not. Returns how many bytes it had.
    fn remove_job(&mut self, queue: QueueId, id: JobId, place: &Place) -> Result<usize, Fault> {
        let stored = match self.stored(queue, id, place.clone()) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(0),
            Err(Fault::Corrupt { .. }) => return self.remove_unreadable_job(queue, id, place),
            Err(fault) => return Err(fault),
        };
        self.apply(Move { id, queue, transition: Transition::Purge, from: stored.from(), to: NewHome::Nowhere })?;
        // A job that was given back unstarted after its cancel was requested has a mark.
        self.unmark(id)?;
        self.note_end(queue, id, || None);
        if self.listening {
            let (queue, kind) = (self.catalog().queue_name(queue), self.catalog().kind_name(stored.record.kind));
            self.event(|| Event::Deleted { id, queue, kind });
        }
        Ok(stored.bytes)
    }

    /// Removes a job whose record cannot be read.
    fn remove_unreadable_job(&mut self, queue: QueueId, id: JobId, place: &Place) -> Result<usize, Fault> {
        // The row is removed with the queue's other rows of the quarantine.
        if self.quarantine_job(id)? {
            return Ok(0);
        }
        // The index does not lead to it.
        let Some(row) = self.row_at(queue, id, place)? else { return Ok(0) };
        let from = OldHome::Place { place, state: presumed_state(place, &row), record: None, bytes: row.len() };
        self.apply(Move { id, queue, transition: Transition::Purge, from, to: NewHome::Nowhere })?;
        self.forget_tags_of(id)?;
        Ok(row.len())
    }

    /// Some jobs of a queue, from whatever home has any. The members of a group come in reverse order, so that no other
    /// member becomes the head while they are removed.
    fn jobs_of(&mut self, queue: QueueId, mut room: SweepRoom) -> Result<Vec<Doomed>, Fault> {
        let mut jobs = Vec::new();
        let mut take = |id: u64, place: Place, row: &[u8]| {
            jobs.push(Doomed { id: JobId::new(id), place });
            room.rows = room.rows.saturating_sub(1);
            room.bytes = room.bytes.saturating_sub(row.len() as u64);
            room.is_used_up()
        };
        let members = self.tables.members()?.range((queue, "", 0, 0, 0)..(queue + 1, "", 0, 0, 0))?;
        for row in members.rev() {
            let (key, row) = row?;
            let (_, group, parked, seq, id) = key.value();
            if take(id, Place::Member(Member { group: group.into(), parked: parked == 1, seq }), row.value()) {
                return Ok(jobs);
            }
        }
        for row in self.tables.ready()?.range((queue, 0, 0)..=(queue, u8::MAX, u64::MAX))? {
            let (key, row) = row?;
            let (_, priority, id) = key.value();
            if take(id, Place::Ready { priority }, row.value()) {
                return Ok(jobs);
            }
        }
        for line in [TimeLine::Wall, TimeLine::Engine] {
            let range = (queue, line as u8, 0, 0)..=(queue, line as u8, u64::MAX, u64::MAX);
            for row in self.tables.delayed()?.range(range)? {
                let (key, row) = row?;
                let (_, _, at, id) = key.value();
                let due = Due { line, at: Timestamp::from_millis(at) };
                // A pointer stands for a member of a group, and goes with it.
                if !is_pointer(row.value()) && take(id, Place::Delayed { due }, row.value()) {
                    return Ok(jobs);
                }
            }
        }
        for row in self.tables.blocked()?.range((queue, 0)..=(queue, u64::MAX))? {
            let (key, row) = row?;
            let (_, id) = key.value();
            if take(id, Place::Blocked, row.value()) {
                return Ok(jobs);
            }
        }
        for row in self.tables.dead_letters()?.range((queue, 0, 0)..=(queue, u64::MAX, u64::MAX))? {
            let (key, row) = row?;
            let (_, at, id) = key.value();
            if take(id, Place::Dead { at: Timestamp::from_millis(at) }, row.value()) {
                return Ok(jobs);
            }
        }
        for state in [State::Completed, State::Cancelled] {
            let range = (queue, state as u8, 0, 0)..=(queue, state as u8, u64::MAX, u64::MAX);
            for row in self.tables.finished()?.range(range)? {
                let (key, row) = row?;
                let (_, _, at, id) = key.value();
                if take(id, Place::Finished { state, at: Timestamp::from_millis(at) }, row.value()) {
                    return Ok(jobs);
                }
            }
        }
        Ok(jobs)
    }

    /// Removes what a queue has beside its jobs. Returns false if more is left than there is room for.
    fn remove_rest_of(&mut self, queue: QueueId, room: &mut SweepRoom) -> Result<bool, Fault> {
        let rest: [RemoveRows<Self>; 6] = [
            Self::remove_unique_keys,
            Self::remove_timed_keys,
            Self::remove_group_rows,
            Self::remove_buckets,
            Self::remove_circuits,
            Self::remove_quarantined_of,
        ];
        for remove in rest {
            room.rows -= remove(self, queue, room.rows)?;
            if room.is_used_up() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn all_jobs(tally: &Tally) -> u64 {
    tally.unfinished() + tally.completed + tally.cancelled + tally.dead
}
