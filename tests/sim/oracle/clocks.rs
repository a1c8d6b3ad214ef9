//! I19: the clocks. The engine's own time follows the wall clock forward and never goes back; this file bounds what it can be,
//! also across restarts and crashes, so that other invariants can tell what is early and what is late.

use millpond_testkit::When;

use super::{Job, Line, MARK_AFTER, Oracle};
use crate::paths::took;

impl Oracle {
    /// By a whole number of milliseconds.
    pub fn advanced(&mut self, millis: u64) {
        self.mono += millis * 1_000_000;
        self.wall = self.wall.saturating_add(millis);
        self.line.least += millis;
        self.line.most += millis;
        self.age += millis;
        self.follow_the_wall_clock();
    }

    pub fn wall_set(&mut self, wall: u64) {
        let due_before = self.due_by_wall();
        self.forward = (self.forward + wall.saturating_sub(self.wall)).saturating_sub(self.wall.saturating_sub(wall));
        self.wall = wall;
        self.follow_the_wall_clock();
        if self.due_by_wall() > due_before {
            took("a job became due by a jump");
        }
    }

    fn due_by_wall(&self) -> usize {
        let due = |job: &&Job| matches!(job.spec.when, When::At(at) if at <= self.wall) && job.ended.is_none();
        self.jobs.values().filter(due).count()
    }

    fn follow_the_wall_clock(&mut self) {
        let Line { least, most } = self.line;
        if self.wall > most + 1_000 {
            self.line = Line { least: self.wall, most: self.wall };
        } else if self.wall > least + 1_000 {
            self.line = Line { least: self.wall - 1_000, most: most.max(self.wall) };
        }
        for job in self.jobs.values_mut() {
            job.wall_seen = job.wall_seen.max(self.wall);
        }
    }

    /// Everything that needs no time is done: the start mark of a run that has lasted for a while is in the file.
    pub fn rested(&mut self) {
        let mono = self.mono;
        for run in self.jobs.values_mut().filter_map(|job| job.running.as_mut()) {
            run.marked |= run.called + MARK_AFTER <= mono;
        }
        // The file knows that the clock was set.
        self.forward = 0;
    }

    /// A new process has opened the file.
    pub fn opened(&mut self, crashed: bool) {
        let Line { least, most } = self.line;
        // The engine cannot tell a wall clock that was set forward since the last commit from time that has passed.
        let forward = if crashed { std::mem::take(&mut self.forward) } else { 0 };
        self.line = match crashed {
            true => Line { least: self.wall, most: (most + forward).max(self.wall) },
            false => Line { least: least.max(self.wall), most: most.max(self.wall) },
        };
        if forward > 0 {
            self.age += forward;
            self.rated.clear();
        }
        (self.forward, self.opened_at, self.after_crash) = (0, self.age, crashed);
        self.held_before.extend(std::mem::take(&mut self.holds).into_keys());
        self.degraded_since = None;
        self.windows_are_empty();
        (self.abandoned, self.stops) = (false, false);
        for queue in 0..self.plan.queues.len() {
            self.set_has_worker(queue, false);
        }
        self.set_max_running(self.plan.max_running);
    }
}
