//! The invariant: an acknowledged job is stored, exactly once, with an id above all earlier ones.

use millpond::State;
use millpond_testkit::{Expires, JobSpec, When};

use super::{Check, Due, Holder, Job, Line, Model, ONCE};

impl Model {
    /// A job with this id was acknowledged.
    pub fn insert(&mut self, id: u64, spec: &JobSpec) -> Check {
        if let Some(there) = self.there_already(spec) {
            return if id == there { Ok(()) } else { Err(format!("the answer is id {id}, and {there} has its key")) };
        }
        if id <= self.last_id {
            return Err(format!("the answer is id {id}, after {}", self.last_id));
        }
        self.last_id = id;
        let spec = spec.made_at(self.now.wall);
        let due = match spec.when {
            When::Now | When::Delay(0) => None,
            When::Delay(delay) => Some(Due { line: Line::Engine, at: self.now.engine + delay }),
            When::At(at) => (at > self.now.wall).then_some(Due { line: Line::Wall, at }),
            When::In(_) => unreachable!("a job that is made has times instead of offsets"),
        };
        let expires = spec.expires.map(|expires| match expires {
            Expires::In(after) => Due { line: Line::Age, at: self.now.age + after },
            Expires::At(at) => Due { line: Line::Wall, at },
            Expires::Ahead(_) => unreachable!("a job that is made has times instead of offsets"),
        });
        self.totals[spec.queue].enqueued += 1;
        let seq = self.fresh_seq();
        self.jobs.insert(
            id,
            Job {
                queue: spec.queue,
                group: spec.group.map(usize::from),
                priority: spec.priority,
                is_tagged: spec.priority != 5,
                state: if due.is_some() { State::Scheduled } else { State::Pending },
                attempts: 0,
                max: if spec.once { Some(ONCE) } else { spec.max },
                errors: 0,
                logs: Vec::new(),
                due,
                expires,
                begun: false,
                seq,
                parked: false,
                ticket: None,
                fresh: false,
                running: None,
                cancel_requested: false,
                ended: 0,
                crashes: 0,
                key: spec.key.map(|(key, _)| key),
            },
        );
        if let Some((key, unique_for)) = spec.key {
            self.keys.insert((spec.queue, key), Holder { id, until: self.now.age + unique_for });
        }
        self.join(id);
        Ok(())
    }

    /// A job that a handler has enqueued with its completion.
    pub fn insert_by_an_end(&mut self, id: u64, spec: &JobSpec) -> Check {
        self.insert(id, spec)?;
        self.job(id).fresh = true;
        Ok(())
    }

    /// The job may have become visible after other jobs that calls of the same step stored.
    pub fn came_later(&mut self, id: u64) {
        self.job(id).fresh = true;
    }

    pub(super) fn fresh_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }
}
