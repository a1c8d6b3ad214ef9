//! I10: limits that jobs share. No more jobs of a kind run than may, the units in use are at most those of the limit, and no
//! job of a paused kind starts.

use super::{Check, Job, KindPauses, Oracle, Origin, ever};
use crate::limits::weight_of;
use crate::paths::took;

impl Oracle {
    /// How many units of the named limit a job uses while it runs.
    fn units_of(&self, job: &Job) -> u32 {
        let Some(units) = self.plan.limits.units.filter(|_| self.plan.limits.of(job.spec.queue, job.spec.kind).1)
        else {
            return 0;
        };
        let weight = weight_of(&job.spec).filter(|_| !matches!(job.origin, Origin::Parent { .. })).unwrap_or(1);
        weight.min(units)
    }

    /// Checks that a job which was handed out at `taken` finds room beside those that were handed out before it.
    pub(super) fn within_limits(&self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, kind) = (job.spec.queue, job.spec.kind);
        let by_then = |other: &&Job| other.running.is_some_and(|run| run.taken.is_some_and(|since| since <= taken));
        let running = || self.jobs.values().filter(by_then);
        if let Some(slots) = self.plan.limits.of(queue, kind).0 {
            let of_kind = running().filter(|other| (other.spec.queue, other.spec.kind) == (queue, kind)).count();
            if of_kind >= slots as usize {
                return Err(format!("I10: {of_kind} jobs of its kind run, and {slots} may: {job:?}"));
            }
        }
        if let Some(units) = self.plan.limits.units {
            let used: u32 = running().map(|other| self.units_of(other)).sum();
            if self.units_of(job) > 0 && used + self.units_of(job) > units {
                return Err(format!("I10: {used} of {units} units are in use, and a job starts: {job:?}"));
            }
            if used == units {
                took("all units of a limit were in use");
            }
        }
        match self.paused_kinds.get(&(queue, kind)) {
            Some(KindPauses { history, .. }) if ever(history, taken).all(|paused| paused) => {
                Err(format!("I15: its kind is paused: {job:?}"))
            }
            _ => Ok(()),
        }
    }

    /// A call to pause or to resume a kind is made: until its answer, the kind may be paused or not.
    pub fn kind_may_be_paused(&mut self, call: u64, key: (usize, usize)) {
        let mono = self.mono;
        let KindPauses { calls, history } = self.paused_kinds.entry(key).or_default();
        if history.is_empty() {
            history.push((0, false));
        }
        calls.values_mut().for_each(|overlaps| *overlaps = true);
        calls.insert(call, !calls.is_empty());
        history.push((mono, false));
    }

    /// All kinds of a queue were resumed.
    pub fn kinds_resumed(&mut self, queue: usize) {
        let mono = self.mono;
        let of_queue = self.paused_kinds.iter_mut().filter(|((of, _), _)| *of == queue);
        of_queue.for_each(|(_, pauses)| pauses.history.push((mono, false)));
    }

    /// A call about a kind was answered: the kind is paused if it says so, unless another call was made meanwhile.
    pub fn kind_paused(&mut self, call: u64, key: (usize, usize), paused: bool) {
        let mono = self.mono;
        let Some(KindPauses { calls, history }) = self.paused_kinds.get_mut(&key) else { return };
        if calls.remove(&call) == Some(false) && paused {
            took("a kind was paused");
            history.push((mono, true));
        }
    }
}
