//! The invariant: an enqueue whose unique key is held is answered with the id of the job that holds it, and stores nothing.
//! A job holds its key until it has ended, and at least for the time that it asked for.

use millpond_testkit::JobSpec;

use super::{Holder, Job, Model};

impl Model {
    /// The stored job whose id answers this enqueue, if its unique key is held.
    pub fn there_already(&self, spec: &JobSpec) -> Option<u64> {
        let holder = self.keys.get(&(spec.queue, spec.key?.0))?;
        let waits = self.jobs.get(&holder.id).is_some_and(|job| !job.state.is_final());
        (self.now.age < holder.until || waits).then_some(holder.id)
    }

    pub(super) fn free_key(&mut self, id: u64) {
        self.keys.retain(|_, holder| holder.id != id);
    }

    /// Gives the job its unique key back, unless another job holds it.
    pub(super) fn regain_key(&mut self, id: u64) {
        let Job { queue, key: Some(key), .. } = self.jobs[&id] else { return };
        let asked = JobSpec { queue, key: Some((key, 0)), ..JobSpec::PLAIN };
        if self.there_already(&asked).is_none() {
            self.keys.insert((queue, key), Holder { id, until: self.now.age });
        }
    }
}
