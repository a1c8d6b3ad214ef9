//! I13: order within a queue. No job is handed out while a more urgent one, or an earlier one without a group, is ready.

use millpond_testkit::When;

use super::{Check, Oracle};

impl Oracle {
    /// No more urgent job was ready when this one was handed out.
    pub(super) fn in_order(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        if let Some(by) = job.taken_by
            && taken > by
        {
            return Err(format!("I13: a job after it was handed out at {by}, it at {taken}: {job:?}"));
        }
        // With ageing a less urgent job that has waited for long may go first.
        if self.plan.queues[job.spec.queue].ages.is_some() || job.suspect || job.steered || job.place == u64::MAX {
            return Ok(());
        }
        let (queue, plain, priority, id) = (job.spec.queue, job.spec.group.is_none(), job.spec.priority, job.id);
        let all_kinds = self.plan.queues[queue].all_kinds;
        let heads = self.heads(queue, taken);
        let (harmed, after_crash) = (self.harmed, self.after_crash);
        let (limits, batches, paused_kinds) = (&self.plan.limits, &self.plan.batches, &self.paused_kinds);
        for (number, other) in &mut self.jobs {
            let goes_before = other.spec.priority < priority
                || plain && other.spec.group.is_none() && other.spec.priority == priority && other.id < id;
            let passed = other.spec.queue == queue
                && (other.spec.group.is_none() || heads.contains(number))
                && other.since.is_some_and(|since| since < taken)
                && other.ended.is_none()
                && (other.starts, other.attempts) == (0, 0)
                && !other.steered
                && !other.put_off
                && !other.suspect
                // It may have been handed out earlier, and given back because its start mark could not be written.
                && !(harmed && (other.spec.once || after_crash))
                && other.spec.when == When::Now
                && other.spec.expires.is_none()
                && (all_kinds || other.spec.kind == 0)
                && other.running.is_none()
                && !limits.limit(queue, other.spec.kind)
                // It may have been handed out earlier, and wait for its batch.
                && batches.of(queue, other.spec.kind).is_none()
                && !paused_kinds.contains_key(&(queue, other.spec.kind))
                && goes_before;
            if passed {
                other.taken_by = Some(other.taken_by.map_or(taken, |by| by.min(taken)));
            }
        }
        Ok(())
    }

    /// No job was passed by when one after it was handed out, and has still not started although everything that was
    /// handed out has begun.
    pub fn no_job_was_passed_by(&self) -> Check {
        match self.jobs.values().find(|job| job.taken_by.is_some() && job.ended.is_none()) {
            Some(job) => Err(format!("I13: a job after it was handed out and it was not: {job:?}")),
            None => Ok(()),
        }
    }
}
