//! The invariant: the second queue keeps an ended job until its age is [`KEPT`], and not for much longer.

use std::collections::BTreeSet;

use super::{Job, KEPT, Model};

impl Model {
    fn may_be_pruned(&self, job: &Job, after: u64) -> bool {
        job.queue == 1 && job.state.is_final() && self.now.age >= job.ended + KEPT + after
    }

    /// `there` are the jobs that exist: retention may have removed others if they are old enough.
    pub fn pruned(&mut self, there: &BTreeSet<u64>) {
        let gone = |(id, job): &(&u64, &Job)| !there.contains(id) && self.may_be_pruned(job, 0);
        let gone: BTreeSet<u64> = self.jobs.iter().filter(gone).map(|(id, _)| *id).collect();
        gone.iter().for_each(|id| self.release_for_good(*id));
        self.jobs.retain(|id, _| !gone.contains(id));
    }

    /// A job that retention should have removed at least `ago` milliseconds ago.
    pub fn kept_for_too_long(&self, ago: u64) -> Option<u64> {
        self.jobs.iter().find(|(_, job)| self.may_be_pruned(job, ago)).map(|(id, _)| *id)
    }
}
