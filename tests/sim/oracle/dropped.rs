//! I38: jobs that a full queue drops. Only a queue that is set so drops jobs, it drops none that a handler has, each is told and counted,
//! and none of them is in the file or starts afterwards.

use std::collections::BTreeSet;

use millpond::{Counts, State};

use super::{Check, Oracle};
use crate::compare::Moment;
use crate::paths::took;

/// What is known of the jobs that were dropped.
#[derive(Default)]
pub struct Drops {
    /// How many events have told of one, and how many jobs of which no event has told must have been dropped.
    count: u64,
    /// How many jobs are gone of which it is not known whether they were dropped.
    perhaps: u64,
    /// Jobs that were gone before they were read: an event of the same commit should say that they were dropped.
    unread: BTreeSet<u64>,
    /// Those of which an event has said so.
    unseen: BTreeSet<u64>,
}

impl Oracle {
    /// Whether this job is, or may be, in a queue that can drop it.
    pub fn may_be_dropped(&self, n: u64) -> bool {
        let job = &self.jobs[&n];
        let drops = |queue: usize| self.plan.queues[queue].drops;
        drops(job.spec.queue) || (0..self.plan.queues.len()).any(|queue| job.may_be_in(queue) && drops(queue))
    }

    /// An event has told of a job that cannot be read. Returns whether it can have been dropped in the commit that has stored it.
    pub(super) fn gone_at_once(&mut self, id: u64) -> bool {
        let any = self.plan.queues.iter().any(|queue| queue.drops);
        any && self.drops.unread.insert(id)
    }

    /// An event has said that a job was dropped.
    pub(super) fn told_of_drop(&mut self, id: u64) -> Check {
        self.drops.count += 1;
        if self.drops.unread.remove(&id) {
            took("a job was dropped in the commit that has stored it");
            self.drops.unseen.insert(id);
            return Ok(());
        }
        let n = self.number(id)?;
        let job = &self.jobs[&n];
        let has_handler = job.running.is_some() || job.ending.is_some();
        if !self.may_be_dropped(n) || has_handler && job.released.is_none() && !self.stops {
            return Err(format!("I38: it was dropped: {job:?}"));
        }
        took("a full queue dropped a job");
        self.job(n).dropped = true;
        self.ended(id, State::Cancelled)?;
        self.job(n).deleted = true;
        Ok(())
    }

    /// A call was answered with the id of a job that was dropped before it could be read.
    pub(super) fn was_dropped_unseen(&mut self, n: u64, id: u64) -> Check {
        if !self.drops.unseen.remove(&id) {
            return Ok(());
        }
        self.stored(n, id)?;
        let job = self.job(n);
        (job.ended, job.deleted, job.dropped) = (Some(State::Cancelled), true, true);
        Ok(())
    }

    /// The events of a commit were read. If one has told of a job that could not be read, and none that it was dropped, what the job
    /// is will be known at the next comparison.
    pub fn drops_heard(&mut self) {
        self.blind |= !std::mem::take(&mut self.drops.unread).is_empty();
    }

    /// A job is not in the file, and no event has said why. Returns whether it can have been dropped, and counts it.
    pub fn may_have_been_dropped(&mut self, n: u64, moment: Moment, is_explained: bool) -> bool {
        let can = moment != Moment::Running && self.may_be_dropped(n);
        match (can, is_explained) {
            (true, false) => self.drops.count += 1,
            (true, true) => self.drops.perhaps += 1,
            (false, _) => {}
        }
        can
    }

    /// As many jobs were dropped as the queues count.
    pub fn drops_are_counted(&mut self, moment: Moment, counts: &[Counts]) -> Check {
        let counted: u64 = counts.iter().map(|counts| counts.dropped_total).sum();
        let Drops { count, perhaps, .. } = &mut self.drops;
        if moment != Moment::Running && counted > *count {
            // A job that no call was answered for can have been stored and dropped in a commit of which no event has told.
            *count = counted;
        }
        match (*count..=*count + *perhaps).contains(&counted) {
            true => Ok(()),
            false => Err(format!("I38: {counted} jobs were dropped, and {count} to {perhaps} more are known")),
        }
    }
}
