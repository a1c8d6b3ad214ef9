//! Rule 2: of a queue's ready jobs the more urgent priority starts first, strictly. At equal priority jobs without a group
//! start by id, heads by the ticket that they drew when they became ready. Between a job without a group and a head of
//! equal priority, either choice is legal.

use std::collections::BTreeMap;

use super::{Check, Model, Run, Start, is_ready};
use crate::ops::QUEUES;

impl Model {
    pub(super) fn ready(&self) -> impl Iterator<Item = u64> {
        self.jobs.iter().filter(|(_, job)| is_ready(job)).map(|(&id, _)| id)
    }

    /// Called before each step: no job is fresh any more.
    pub fn rest(&mut self) {
        self.shared_ticket = None;
        for job in self.jobs.values_mut() {
            job.fresh = false;
        }
    }

    /// Checks the starts of one step against the rules. `torn` says that jobs without a group and heads may have become
    /// visible at different times.
    pub fn dispatched(&mut self, starts: &[Start], torn: bool) -> Check {
        let mut left: BTreeMap<u64, Start> = BTreeMap::new();
        for start in starts {
            if left.insert(start.id, *start).is_some() {
                return Err(format!("job {} was started twice in one step", start.id));
            }
        }
        while let Some(id) = self.next_legal(&left, torn) {
            let start = left.remove(&id).expect("it was chosen from these");
            self.start(start)?;
        }
        if let Some(start) = left.values().next() {
            let legal: Vec<u64> = (0..QUEUES).flat_map(|queue| self.candidates(queue, torn)).collect();
            let job = self.jobs.get(&start.id);
            let others: Vec<_> = legal.iter().map(|id| &self.jobs[id]).collect();
            let suspects = (&self.suspects, self.running(), self.now.mono);
            return Err(format!("{start:?} is not legal: it is {job:?}; suspects {suspects:?}; legal were {others:?}"));
        }
        self.must_start_nothing_more()
    }

    fn next_legal(&self, left: &BTreeMap<u64, Start>, torn: bool) -> Option<u64> {
        let mut legal: Vec<u64> = (0..QUEUES).flat_map(|queue| self.candidates(queue, torn)).collect();
        legal.sort_by_key(|id| (self.jobs[id].fresh, self.jobs[id].priority));
        legal.into_iter().find(|id| left.contains_key(id))
    }

    pub(super) fn start(&mut self, start: Start) -> Check {
        let Start { id, attempt, max } = start;
        let job = &self.jobs[&id];
        if attempt != job.attempts + 1 || max != self.limit(id) {
            return Err(format!("{start:?}: its attempt should be {} of {}", job.attempts + 1, self.limit(id)));
        }
        let nothing_beside = self.running().is_empty();
        for job in self.jobs.values_mut() {
            if let Some(run) = &mut job.running {
                run.alone = false;
            }
        }
        self.suspects.remove(&id);
        let since = self.now.mono;
        let alone = nothing_beside && self.jobs[&id].crashes > 0;
        self.job(id).running = Some(Run { attempt, since, alone });
        Ok(())
    }

    /// The jobs of a queue that may start next.
    pub(super) fn candidates(&self, queue: usize, torn: bool) -> Vec<u64> {
        if !self.is_open(queue) {
            return Vec::new();
        }
        let ready: Vec<u64> = self
            .ready()
            .filter(|id| self.jobs[id].queue == queue && !self.suspects.contains(id))
            .filter(|id| !self.is_group_held(*id))
            .collect();
        let goes_before = |a: u64, b: u64| {
            let (x, y) = (&self.jobs[&a], &self.jobs[&b]);
            let same_list = x.group.is_some() == y.group.is_some();
            if torn && !same_list {
                return false;
            }
            let earlier = match (x.ticket, y.ticket) {
                (Some(x), Some(y)) => x < y,
                _ => a < b,
            };
            x.priority < y.priority || same_list && x.priority == y.priority && earlier
        };
        let is_next = |&id: &u64| {
            let mut others = ready.iter().filter(|&&other| other != id && !self.jobs[&other].fresh);
            others.all(|&other| !goes_before(other, id))
        };
        self.startable_suspects(queue).chain(ready.iter().copied().filter(is_next)).collect()
    }
}
