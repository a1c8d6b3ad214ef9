//! I9: group order. Where a queue's groups block, a job starts only when all members before it have ended; where they skip,
//! when all members before it that are due have ended. Where several members can run at a time, all but so many must have ended. Where they hold, none starts while a dead letter holds the group, and
//! the dead letter comes back to its place.

use std::collections::BTreeSet;

use millpond::GroupPolicy;
use millpond_testkit::When;

use super::{Check, Job, Oracle};
use crate::paths::took;

impl Oracle {
    /// In a group that blocks, every job before this one has ended, or as many as must have.
    pub(super) fn in_group_order(&self, n: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        if group.is_none() || self.policy_changed.contains(&queue) || job.place == u64::MAX {
            return Ok(());
        }
        let before = |other: &&Job| {
            (other.spec.queue, other.spec.group) == (queue, group)
                && other.since.is_some()
                && other.ended.is_none()
                && other.place < job.place
        };
        let skips = self.group_policies[queue] == GroupPolicy::Skip;
        // Where groups skip, members that are not due are passed by.
        let is_due = |other: &&Job| {
            !skips
                || ((other.starts, other.attempts) == (0, 0)
                    && other.spec.when == When::Now
                    && !other.steered
                    && !other.put_off
                    && !other.redriven)
        };
        let ahead = self.jobs.values().filter(before);
        if skips && ahead.clone().next().is_some() {
            took("a parked member was passed by");
        }
        let must_have_ended = self.plan.queues[queue].group_concurrency as usize - 1;
        match ahead.filter(is_due).nth(must_have_ended) {
            Some(other) => Err(format!("I9: {job:?} starts before {other:?}, which comes before it in the group")),
            None => Ok(()),
        }
    }

    /// The heads of the queue's groups that nothing holds back, if they have been heads since before `taken`.
    pub(super) fn heads(&self, queue: usize, taken: u64) -> BTreeSet<u64> {
        let mut heads = BTreeSet::new();
        let skips = self.group_policies[queue] == GroupPolicy::Skip;
        let plan = &self.plan.queues[queue];
        let is_held_back = plan.group_rate.is_some() || plan.group_breaker.is_some();
        if self.policy_changed.contains(&queue) || skips || is_held_back {
            return heads;
        }
        for group in 0..self.plan.groups {
            let key = (queue, group);
            let of_group = (queue, Some(group));
            let held = self.paused_groups.contains_key(&key)
                || self.held_groups.contains_key(&key)
                || self.holds.contains_key(&of_group)
                || self.held_before.contains(&of_group);
            if held || self.moved.get(&key).is_some_and(|moved| *moved >= taken) {
                continue;
            }
            let here = |job: &&Job| {
                (job.spec.queue, job.spec.group) == (queue, Some(group)) && job.since.is_some() && job.ended.is_none()
            };
            let mut line: Vec<&Job> = self.jobs.values().filter(here).collect();
            if line.iter().all(|job| job.place != u64::MAX && !job.steered) {
                line.sort_by_key(|job| job.place);
                heads.extend(line.iter().take(plan.group_concurrency as usize).map(|head| head.spec.n));
            }
        }
        heads
    }

    /// An event has said that a dead letter holds its group, or that it does so no longer.
    pub(super) fn held(&mut self, queue: &str, group: &str, id: u64, held: bool) {
        if held {
            took("a dead letter held its group");
        }
        self.released = (!held).then_some(id);
        let history = self.held_groups.entry(group_key(queue, group)).or_insert_with(|| vec![(0, false)]);
        history.push((self.mono, held));
    }

    /// The file was opened again, and tells which groups are held: a commit without an event can have changed that.
    pub fn held_by_the_file(&mut self, held: &[(String, String)]) {
        let held: BTreeSet<_> = held.iter().map(|(queue, group)| group_key(queue, group)).collect();
        for key in &held {
            self.held_groups.entry(*key).or_insert_with(|| vec![(0, false)]);
        }
        for (key, history) in &mut self.held_groups {
            history.push((self.mono, held.contains(key)));
        }
    }

    /// The groups that a dead letter holds.
    pub fn held_groups(&self) -> Vec<(usize, u8)> {
        let held = self.held_groups.iter().filter(|(_, history)| history.last().is_some_and(|(_, held)| *held));
        held.map(|(key, _)| *key).collect()
    }
}

/// The number in a name that the simulation has made.
pub(super) fn number_in(name: &str) -> usize {
    name[1..].parse().expect("a name that the simulation made")
}

/// The numbers of a queue and of a group of it.
pub(super) fn group_key(queue: &str, group: &str) -> (usize, u8) {
    (number_in(queue), u8::try_from(number_in(group)).expect("there are few groups"))
}
