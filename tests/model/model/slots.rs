//! Rule 3: nothing starts in a paused queue, without a worker, beyond the worker's or the process's slots, or while a rate
//! limit holds back the queue (or the head's group).

use std::collections::BTreeSet;

use super::{Model, Queue};

impl Model {
    pub fn start_worker(&mut self, queue: usize, slots: usize) {
        self.queues[queue].slots = Some(slots);
    }

    pub fn stop_worker(&mut self, queue: usize) {
        self.queues[queue].slots = None;
    }

    pub fn has_worker(&self, queue: usize) -> bool {
        self.queues[queue].slots.is_some()
    }

    pub fn set_max_running(&mut self, jobs: usize) {
        self.max_running = jobs;
    }

    pub fn max_running(&self) -> usize {
        self.max_running
    }

    /// Whether the call changed anything.
    pub fn pause_queue(&mut self, queue: usize, pause: bool) -> bool {
        std::mem::replace(&mut self.queues[queue].paused, pause) != pause
    }

    pub fn running(&self) -> BTreeSet<u64> {
        self.jobs.iter().filter(|(_, job)| job.running.is_some()).map(|(&id, _)| id).collect()
    }

    pub fn running_of(&self, queue: usize) -> BTreeSet<u64> {
        self.running().into_iter().filter(|id| self.jobs[id].queue == queue).collect()
    }

    fn running_in(&self, queue: usize) -> usize {
        self.jobs.values().filter(|job| job.queue == queue && job.running.is_some()).count()
    }

    fn is_held(&self, key: (usize, Option<usize>)) -> bool {
        self.holds.get(&key).is_some_and(|hold| hold.until > self.now.mono)
    }

    pub(super) fn is_open(&self, queue: usize) -> bool {
        let Queue { paused, slots, .. } = &self.queues[queue];
        !paused
            && slots.is_some_and(|slots| self.running_in(queue) < slots)
            && self.running().len() < self.max_running
            && !self.is_held((queue, None))
    }

    pub(super) fn is_group_held(&self, id: u64) -> bool {
        let job = &self.jobs[&id];
        job.group.is_some() && self.is_held((job.queue, job.group))
    }
}
