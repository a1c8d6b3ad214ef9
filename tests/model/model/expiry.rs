//! Rule 5: a job that waits and has not started is cancelled once its expiry has passed: an expiry after a duration by the
//! time that has passed, an expiry at a time by the wall clock.

use millpond::State;

use super::{Job, Model};

impl Model {
    /// Ends the jobs that wait, have not started and have expired.
    pub fn expire(&mut self) {
        let expired = |job: &Job| {
            let passed = job.expires.is_some_and(|due| self.is_due(due));
            passed && !job.begun && job.running.is_none() && !job.state.is_final()
        };
        let expired: Vec<u64> = self.jobs.iter().filter(|(_, job)| expired(job)).map(|(id, _)| *id).collect();
        for id in expired {
            self.share_tickets();
            self.end(id, State::Cancelled);
        }
    }
}
