//! I2, I16: a job that is stored was asked for, has an id of its own, and a follow-up job is stored only with the completion of
//! its parent.

use millpond::State;
use millpond_testkit::{JobSpec, When};

use super::{Check, Fate, Job, Oracle, Origin};
use crate::handlers::Act;
use crate::paths::took;
use crate::plan::is_keyed;

impl Oracle {
    pub fn make(&mut self, spec: &JobSpec, origin: Origin) {
        let spec = spec.made_at(self.wall);
        let not_before = match spec.when {
            When::Delay(delay) => Some(self.line.least + delay),
            _ => None,
        };
        let generation = match origin {
            Origin::Parent { n, .. } if self.is_guest(&self.jobs[&n]) => self.jobs[&n].generation + 1,
            _ => 0,
        };
        let job = Job {
            spec,
            origin,
            fate: Fate::Asked,
            id: None,
            since: None,
            ended: None,
            ending: None,
            last_act: None,
            running: None,
            attempts: 0,
            starts: 0,
            crashes: 0,
            crash_errors: 0,
            steered: false,
            cancel_requested: false,
            is_keyed: is_keyed(&spec),
            before_repeat: None,
            purged: false,
            deleting: false,
            deleted: false,
            dropped: false,
            moving: 0,
            place: u64::MAX,
            redriven: false,
            redrives: 0,
            not_before,
            wall_seen: self.wall,
            taken_by: None,
            suspect: false,
            released: None,
            spent: false,
            number: None,
            generation,
            guest: None,
            children: 0,
            done_before: 0,
            made_at: self.age,
            stored_at: self.age,
            ended_at: None,
            put_back: false,
            unseen: None,
            put_off: false,
            owes_failure: false,
            run_ended: None,
            heard_start: None,
        };
        self.jobs.insert(job.spec.n, job);
    }

    /// It became known without an event that a job is stored.
    pub fn learned(&mut self, n: u64, id: u64) -> Check {
        self.last_id = self.last_id.max(id);
        self.stored(n, id)
    }

    pub fn line_moved(&mut self, n: u64) {
        let job = &self.jobs[&n];
        if let Some(group) = job.spec.group {
            self.moved.insert((job.spec.queue, group), self.mono);
        }
    }

    /// The members of a group are in the order of their ids, even if it becomes known late that a commit with an unknown
    /// outcome was durable. A redriven job comes after all ids up to then.
    pub(super) fn place(&mut self, id: u64) -> u64 {
        self.places += 1;
        (id << 32) + self.places
    }

    /// The job is durable.
    pub(super) fn stored(&mut self, n: u64, id: u64) -> Check {
        if !self.jobs.contains_key(&n) {
            return Err(format!("I2: job {id} has the number {n}, for which no call has asked"));
        }
        if let Some(other) = self.by_id.insert(id, n)
            && other != n
        {
            return Err(format!("I16: jobs {other} and {n} have the same id {id}"));
        }
        let (place, mono, age) = (self.place(id), self.mono, self.age);
        let job = self.job(n);
        if job.fate == Fate::Refused {
            return Err(format!("I3: the job was refused, and it is stored: {job:?}"));
        }
        if job.id.is_some_and(|known| known != id) {
            return Err(format!("I16: the job is stored again, as {id}: {job:?}"));
        }
        job.id = Some(id);
        if job.since.is_none() {
            (job.since, job.place, job.stored_at) = (Some(mono), place, age);
        }
        if let Origin::Parent { n: parent, run } = job.origin {
            took("a follow-up job");
            let parent = &self.jobs[&parent];
            let completes = parent.ending.is_some_and(|end| end.run == run && end.act.is_some_and(Act::has_follow_ups));
            let completed = parent.ended == Some(State::Completed) && parent.starts == run;
            if !completes && !completed {
                return Err(format!("I2: a follow-up job is stored without its parent's completion: {parent:?}"));
            }
        }
        Ok(())
    }
}
