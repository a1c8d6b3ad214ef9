//! I15: operators' calls. Cancelling, steering and changing settings: what the oracle must know of them, and that a cancelled
//! job was cancelled.

use millpond::{GroupPolicy, State};

use super::{Check, Oracle};
use crate::paths::took;

impl Oracle {
    /// A call to cancel was answered.
    pub fn cancelled(&self, id: u64, done: bool) -> Check {
        match self.by_id(id) {
            Some(job) if job.ended != Some(State::Cancelled) && !self.blind => {
                Err(format!("I15: the call to cancel it was answered with {done}: {job:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The answer was that a running job is asked to stop. It does not start again, and ends as completed or as cancelled.
    pub fn cancel_requested(&mut self, id: u64) -> Check {
        took("a running job was asked to stop");
        let blind = self.blind;
        let Some(n) = self.by_id.get(&id).copied() else { return Ok(()) };
        let job = self.job(n);
        job.cancel_requested = true;
        match job.ended {
            Some(State::Completed | State::Cancelled) | None => Ok(()),
            Some(_) if blind => Ok(()),
            Some(state) => Err(format!("I15: it was asked to stop, and had ended as {state:?}: {job:?}")),
        }
    }

    pub fn steered(&mut self, id: u64, purged: bool) {
        if let Some(n) = self.by_id.get(&id).copied() {
            let job = self.job(n);
            job.steered = true;
            job.purged |= purged;
            job.taken_by = None;
        }
    }

    pub fn set_slots(&mut self, queue: usize, slots: usize) {
        let running = self.jobs.values().filter(|job| job.running.is_some() && job.spec.queue == queue).count();
        if running > slots {
            took("concurrency was lowered below what ran");
        }
        self.slots[queue].push((self.mono, slots));
    }

    pub fn set_max_running(&mut self, jobs: usize) {
        self.max_running.push((self.mono, jobs));
    }

    pub fn set_has_worker(&mut self, queue: usize, has_worker: bool) {
        self.has_worker[queue].push((self.mono, has_worker));
        self.worker_changes(queue);
        for job in self.jobs.values_mut().filter(|job| job.spec.queue == queue) {
            job.taken_by = None;
        }
    }

    pub fn policy_changes(&mut self, queue: usize, policy: GroupPolicy) {
        self.policy_changed.insert(queue);
        self.group_policies[queue] = policy;
    }
}
