//! I20: ages and expiries. A job expires only after its expiry has passed and before it has started, it does not wait any
//! longer, and an ended job that is young is kept.

use millpond_testkit::Expires;

use super::{Check, Job, Oracle};
use crate::paths::took;
use crate::plan::{KEPT, Keeps};

impl Oracle {
    /// At rest, no job waits that has not started and has certainly expired.
    pub fn no_job_outlives_its_expiry(&self) -> Check {
        let outlives = |job: &&Job| {
            let expired = match job.spec.expires {
                // While the file is open all time counts.
                Some(Expires::In(after)) => self.age - job.stored_at.max(self.opened_at) >= after,
                Some(Expires::At(at)) => self.wall >= at,
                _ => false,
            };
            let waits = job.since.is_some() && job.ended.is_none() && job.running.is_none() && job.ending.is_none();
            // A job that waits for others of its batch has started.
            let is_batched = self.plan.batches.of(job.spec.queue, job.spec.kind).is_some();
            let is_unstarted = (job.starts, job.attempts, job.crash_errors) == (0, 0, 0) && !is_batched;
            expired && waits && is_unstarted && !job.put_off
        };
        match self.jobs.values().find(outlives) {
            Some(job) if !self.blind => Err(format!("I20: a job waits after its expiry, at age {}: {job:?}", self.age)),
            _ => Ok(()),
        }
    }

    /// An event has said that the job has expired.
    pub(super) fn expired(&self, id: u64) -> Check {
        let Some(job) = self.by_id(id) else { return Ok(()) };
        let passed = match job.spec.expires {
            Some(Expires::In(after)) => self.age - job.made_at >= after,
            Some(Expires::At(at)) => job.wall_seen >= at,
            _ => false,
        };
        if !passed {
            return Err(format!("I20: a job expires early, at age {} and wall clock {}: {job:?}", self.age, self.wall));
        }
        if job.ending.is_some() || job.attempts > 0 || job.put_back || job.crash_errors > 0 {
            return Err(format!("I20: the job has started, and expires: {job:?}"));
        }
        if matches!(job.spec.expires, Some(Expires::At(_))) {
            took("a job expired by the wall clock");
        }
        took("a waiting job expired");
        Ok(())
    }

    /// A job that ended a short time ago is kept, whatever the wall clock shows.
    pub fn too_young_to_go(&self, job: &Job) -> bool {
        // A commit can take minutes on a slow disk.
        let margin = 600_000;
        let kept = self.plan.queues[job.spec.queue].keeps == Keeps::Young;
        kept && job.ended_at.is_some_and(|ended| self.age - ended < KEPT.as_millis() as u64 - margin)
    }
}
