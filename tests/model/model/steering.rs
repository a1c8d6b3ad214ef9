//! The invariant: an operator's call changes a job that waits or is dead, and removes one that does not run; and a changed
//! job keeps its place in its group's order unless it is redriven or moved to another queue.

use millpond::State;
use millpond_testkit::JobSpec;

use super::{Due, Job, Line, Model, Totals};

impl Model {
    /// The state with which a call on a waiting job is refused.
    pub fn refusal(&self, id: u64) -> Option<State> {
        let job = &self.jobs[&id];
        if job.running.is_some() {
            return Some(State::Running);
        }
        job.state.is_final().then_some(job.state)
    }

    pub fn cancel(&mut self, id: u64) {
        self.end(id, State::Cancelled);
        self.free_key(id);
    }

    /// The job runs, and ends with its attempt unless the attempt completes it.
    pub fn request_cancel(&mut self, id: u64) {
        self.job(id).cancel_requested = true;
    }

    /// The job keeps its place in its group's order.
    pub fn update(&mut self, id: u64, priority: Option<u8>, at: Option<u64>) {
        self.suspects.remove(&id);
        let job = self.job(id);
        job.priority = priority.unwrap_or(job.priority);
        if let Some(at) = at {
            job.due = Some(Due { line: Line::Wall, at });
        }
        if self.jobs[&id].due.is_some_and(|due| self.is_due(due)) && at.is_some() {
            self.job(id).due = None;
        }
        let waits = self.waits(id);
        let job = self.job(id);
        job.state = match (waits, job.attempts) {
            (false, _) => State::Pending,
            (true, 0) => State::Scheduled,
            (true, _) => State::Retrying,
        };
        job.ticket = None;
        let Some(key) = self.key(id) else { return };
        let skips = self.queues[key.0].skips;
        self.job(id).parked = skips && waits;
        match (self.is_head(id), skips && waits) {
            (true, true) => self.leave_heads(key, id),
            (true, false) => self.set_head(key, id),
            (false, false) => self.fill(key),
            (false, true) => {}
        }
    }

    /// True if it is a dead letter.
    pub fn redrive(&mut self, id: u64) -> bool {
        if self.jobs.get(&id).is_none_or(|job| job.state != State::Dead) {
            return false;
        }
        let seq = self.release(id).unwrap_or_else(|| self.fresh_seq());
        self.regain_key(id);
        let job = self.job(id);
        job.state = State::Pending;
        (job.attempts, job.crashes, job.due, job.expires, job.seq) = (0, 0, None, None, seq);
        job.cancel_requested = false;
        self.join(id);
        true
    }

    /// The dead letters of a queue, oldest first.
    pub fn dead_letters(&self, queue: usize) -> Vec<u64> {
        let dead = self.jobs.iter().filter(|(_, job)| job.queue == queue && job.state == State::Dead);
        let mut dead: Vec<_> = dead.map(|(&id, job)| (job.ended, id)).collect();
        dead.sort_unstable();
        dead.into_iter().map(|(_, id)| id).collect()
    }

    pub fn purge(&mut self, id: u64) -> bool {
        let dead = self.jobs.get(&id).is_some_and(|job| job.state == State::Dead);
        if dead {
            self.release_for_good(id);
            self.jobs.remove(&id);
            self.free_key(id);
        }
        dead
    }

    /// The jobs of a queue that wait and that no handler has.
    pub fn waiting(&self, queue: usize) -> Vec<u64> {
        let of_queue = self.jobs.iter().filter(|(_, job)| job.queue == queue);
        let ids: Vec<_> = of_queue.map(|(&id, _)| id).collect();
        ids.into_iter().filter(|id| self.refusal(*id).is_none()).collect()
    }

    /// Whether a worker serves the queue, or a job of it runs.
    pub fn is_in_use(&self, queue: usize) -> bool {
        self.has_worker(queue) || !self.running_of(queue).is_empty()
    }

    /// Nothing of the queue is left but its settings.
    pub fn obliterate(&mut self, queue: usize) {
        let gone: Vec<u64> = self.jobs.iter().filter(|(_, job)| job.queue == queue).map(|(&id, _)| id).collect();
        for id in gone {
            self.no_longer_suspected(id);
            self.jobs.remove(&id);
        }
        self.keys.retain(|(of, _), _| *of != queue);
        self.groups.retain(|(of, _), _| *of != queue);
        self.holds.retain(|(of, _), _| *of != queue);
        (self.queues[queue].paused, self.queues[queue].group_concurrency) = (false, 1);
        self.totals[queue] = Totals::default();
    }

    /// Nothing of the job is left. It is not running.
    pub fn delete(&mut self, id: u64) {
        self.no_longer_suspected(id);
        self.free_key(id);
        self.release_for_good(id);
        let head_of = self.is_head(id).then(|| self.key(id)).flatten();
        self.jobs.remove(&id);
        if let Some(key) = head_of {
            self.leave_heads(key, id);
        }
    }

    /// The job waits, or is a dead letter. False if it stays where it is.
    pub fn move_to(&mut self, id: u64, queue: usize) -> bool {
        let Job { queue: from, key, state, .. } = self.jobs[&id];
        let asked = JobSpec { queue, key: key.map(|key| (key, 0)), ..JobSpec::PLAIN };
        let waits = !state.is_final();
        if from == queue || (waits && self.there_already(&asked).is_some()) {
            return false;
        }
        self.suspects.remove(&id);
        self.free_key(id);
        self.release_for_good(id);
        let head_of = self.is_head(id).then(|| self.key(id)).flatten();
        let (seq, now) = (self.fresh_seq(), self.now.age);
        let job = self.job(id);
        (job.queue, job.seq, job.ticket, job.parked) = (queue, seq, None, false);
        if let Some(key) = head_of {
            self.leave_heads(key, id);
        }
        if waits {
            self.regain_key(id);
            self.join(id);
        } else {
            self.job(id).ended = now;
        }
        true
    }
}
