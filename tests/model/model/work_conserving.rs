//! Rule 4: a ready job that no rule stops must start: at rest, there is never both such a job and a free slot.

use super::{Check, Job, Model};
use crate::ops::QUEUES;

impl Model {
    pub(super) fn must_start_nothing_more(&self) -> Check {
        for queue in 0..QUEUES {
            if let Some(id) = self.candidates(queue, false).iter().find(|id| !self.recovering.contains_key(id)) {
                return Err(format!("job {id} could start and does not: {:?}", self.jobs[id]));
            }
        }
        Ok(())
    }

    /// When something next happens without an operation, for a test that waits for it.
    pub fn next_event(&self) -> Option<u64> {
        let due = |job: &Job| {
            let due = job.due.filter(|_| !job.state.is_final() && job.running.is_none())?;
            due.at.checked_sub(self.on(due.line)).filter(|wait| *wait > 0)
        };
        let dues = self.jobs.values().filter_map(due);
        let holds = self.holds.values().filter_map(|hold| hold.until.checked_sub(self.now.mono)).filter(|w| *w > 0);
        let trials = self.recovering.values().copied();
        dues.chain(holds).chain(trials).min()
    }
}
