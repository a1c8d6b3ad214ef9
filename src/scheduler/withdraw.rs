//! Prevents waiting jobs from starting while the writer changes or removes them.

use super::state::Scheduler;
use crate::job::JobId;

impl Scheduler {
    /// Prevents a waiting job from starting, before the writer changes or removes it. Returns false if the job was handed out.
    pub fn withdraw(&mut self, id: JobId) -> bool {
        let free = !self.handed_out.contains(id);
        if free {
            self.withdrawn.entry(id).or_default();
        }
        free
    }

    /// Lets a withdrawn job start again, after the writer has changed it.
    pub fn reinstate(&mut self, id: JobId) {
        if let Some(Some((queue, job))) = self.withdrawn.remove(&id) {
            tracing::trace!("dispatch reached a job while an operator's call was changing it");
            self.queues.get_or_make(queue).put_back(job);
            self.wake(queue);
            self.chores_changed = true;
        }
        if self.probation.holds(id) {
            self.probation.check_again();
            self.chores_changed = true;
        }
    }
}
