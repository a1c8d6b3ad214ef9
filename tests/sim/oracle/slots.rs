//! I10: slots. No more jobs run than the worker and the process have slots for; and nothing starts without a worker, while its
//! queue or group is paused, or while an answer holds it back.

use super::{Check, Job, Oracle, ever};

impl Oracle {
    /// Checks slots, pauses, workers and holds.
    pub(super) fn allowed(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        let say = |law: &str, why: &str| Err(format!("{law}: {why}: {job:?}, handed out at {taken} of {}", self.mono));
        // A job that was handed out later was counted against the limits of that time.
        let by_then = |other: &Job| other.running.is_some_and(|run| run.taken.is_some_and(|since| since <= taken));
        let running = || self.jobs.values().filter(|other| by_then(other));
        let here = running().filter(|other| other.spec.queue == queue).count();
        let slots = ever(&self.slots[queue], taken).max().unwrap_or(0);
        if here + 1 > slots {
            return say("I10", &format!("{here} of its queue run already, with {slots} slots"));
        }
        let max = ever(&self.max_running, taken).max().unwrap_or(0);
        if running().count() + 1 > max {
            return say("I10", &format!("{} run already, and {max} are allowed to", running().count()));
        }
        if ever(&self.paused[queue], taken).all(|paused| paused) {
            return say("I15", &format!("its queue is paused: {:?}", self.paused[queue]));
        }
        if let Some(group) = group
            && let Some(history) = self.paused_groups.get(&(queue, group))
            && ever(history, taken).all(|paused| paused)
        {
            return say("I9", "its group is paused");
        }
        // Where several jobs of a group can run at a time, those that had a place before the hold still run.
        if let Some(group) = group.filter(|_| self.plan.queues[queue].group_concurrency == 1)
            && let Some(history) = self.held_groups.get(&(queue, group))
            && ever(history, taken).all(|held| held)
        {
            return say("I9", "a dead letter holds its group");
        }
        if !ever(&self.has_worker[queue], taken).any(|has_worker| has_worker) {
            return say("I15", "its queue has no worker");
        }
        for key in [(queue, None), (queue, group)] {
            if let Some((since, until)) = self.holds.get(&key).copied()
                && taken > since
                && taken < until
            {
                return say("I11", &format!("an answer holds {key:?} back until {until}"));
            }
        }
        Ok(())
    }
}
