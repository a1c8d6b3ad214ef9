//! I12, I17: what the oracle must know of a job that is retried or snoozed: how many attempts it has used, and until when it
//! waits. `starts` checks both.

use millpond_testkit::Expires;

use super::{Check, Oracle};
use crate::handlers::Act;
use crate::paths::took;

impl Oracle {
    /// An event has said that the job will be retried.
    pub(super) fn retried(&mut self, id: u64, attempt: u32) -> Check {
        let n = self.number(id)?;
        self.attempt_counts(n)?;
        let (age, wall) = (self.age, self.wall);
        let job = self.job(n);
        let passed = match job.spec.expires {
            Some(Expires::In(after)) => age - job.made_at >= after,
            Some(Expires::At(at)) => wall >= at,
            _ => false,
        };
        if passed {
            took("a job whose expiry had passed was retried");
        }
        job.put_back = true;
        if let Some(Act::HookErrs | Act::HookPanics) = job.ending.and_then(|ending| ending.act) {
            took("the writes with a completion failed");
        }
        job.run_ended = job.ending.map(|ending| ending.run).or(job.run_ended);
        (job.ending, job.taken_by) = (None, None);
        // It may have been tried without a start: its time was over before its handler was polled.
        job.suspect = false;
        job.attempts = attempt;
        self.line_moved(n);
        Ok(())
    }

    /// An event has said that the job is snoozed.
    pub(super) fn snoozed(&mut self, id: u64) -> Check {
        let n = self.number(id)?;
        let job = self.job(n);
        job.put_back = true;
        job.run_ended = job.ending.map(|ending| ending.run).or(job.run_ended);
        if job.ending.take().is_none()
            && let Some(at) = job.unseen
        {
            took("a job was delayed because its plugin was suspended");
            job.not_before = Some(at + 60_000);
        }
        self.line_moved(n);
        took("a snooze");
        Ok(())
    }
}
