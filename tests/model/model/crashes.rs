//! Rule 6: after a crash, the jobs that are known to have run start again in any order. No job has to start as long as the
//! engine reports that it recovers, and it must not report that forever. A job that is blamed for deaths ends.

use std::collections::BTreeMap;

use millpond::State;

use super::{Check, Job, Model, is_ready};

impl Model {
    pub(super) fn no_longer_suspected(&mut self, id: u64) {
        self.suspects.remove(&id);
    }

    /// The queue was shut down or dropped: running jobs go back and use no attempt.
    pub fn closed(&mut self, down: u64, wall: u64) {
        for hold in self.holds.values_mut() {
            hold.stored = self.now.age + hold.until.saturating_sub(self.now.mono);
        }
        for id in self.running() {
            let Job { running, cancel_requested, .. } = self.jobs[&id];
            match (cancel_requested, self.runs_once(id)) {
                (true, once) => {
                    if once {
                        self.note_error(id, running.expect("it runs").attempt);
                    }
                    self.cancel(id);
                }
                (false, true) => self.cut_short(id),
                (false, false) => self.return_to_its_place(id),
            }
        }
        self.opened(down, wall);
    }

    fn opened(&mut self, down: u64, wall: u64) {
        self.was_away(down, wall);
        for queue in &mut self.queues {
            queue.slots = None;
        }
        self.suspects.clear();
        self.after_crash = false;
        self.recovering.clear();
        for hold in self.holds.values_mut() {
            hold.until = self.now.mono + hold.stored.saturating_sub(self.now.age);
        }
        self.expire();
        self.promote();
    }

    /// The process died. `errors` tells how many errors each job has now: an attempt that had only just
    /// begun may have left no trace, every other attempt must have left one.
    pub fn crashed(&mut self, errors: impl Fn(u64) -> Option<usize>, down: u64, wall: u64) -> Check {
        let now = self.now;
        let is_known = |job: &Job, id| errors(id).is_some_and(|errors| errors > job.errors);
        let (known, unknown): (Vec<u64>, Vec<u64>) =
            self.running().into_iter().partition(|id| is_known(&self.jobs[id], *id));
        let run = |job: &Job| job.running.expect("it runs");
        if let Some(id) = unknown.iter().find(|id| now.mono >= run(&self.jobs[id]).since + 10) {
            return Err(format!("job {id} ran when the process died, and the file does not show it"));
        }
        if let Some(id) = unknown.iter().find(|id| self.jobs[id].cancel_requested) {
            return Err(format!("job {id} ran, its cancel was requested, and the file does not show it"));
        }
        if let Some(id) = unknown.iter().find(|id| self.runs_once(**id)) {
            return Err(format!("job {id} ran, is to run at most once, and the file does not show it"));
        }
        let blamed = self.blamed(&known);
        unknown.into_iter().for_each(|id| self.return_to_its_place(id));
        for &id in &known {
            if self.jobs[&id].cancel_requested {
                self.note_error(id, run(&self.jobs[&id]).attempt);
                self.cancel(id);
                continue;
            }
            if self.runs_once(id) {
                self.cut_short(id);
                continue;
            }
            let limit = self.limit(id);
            let attempt = run(&self.jobs[&id]).attempt;
            self.return_to_its_place(id);
            let job = self.job(id);
            job.errors += 1;
            job.crashes += 1;
            job.begun = true;
            job.attempts = if blamed == Some(id) { attempt } else { attempt.min(limit - 1) };
            if job.attempts >= limit {
                self.end(id, State::Dead);
            }
        }
        self.opened(down, wall);
        self.suspects = known.into_iter().filter(|id| is_ready(&self.jobs[id])).collect();
        self.after_crash = true;
        Ok(())
    }

    /// The job that is blamed for a death: the one that was tried alone, if no other job is known to have run at this death;
    /// or the one that ran at three deaths or more, and at two more than any other job that ran at this one; or at five or
    /// more, and one more than the others, if each of them also ran at an earlier one. While one is tried alone, no other is blamed.
    fn blamed(&self, known: &[u64]) -> Option<u64> {
        let is_alone = |id: &&u64| self.jobs[id].running.is_some_and(|run| run.alone);
        let alone = known.iter().find(is_alone).copied();
        if known.len() == 1 && alone.is_some() {
            return alone;
        }
        let mut deaths: Vec<(u32, u64)> = known.iter().map(|id| (self.jobs[id].crashes + 1, *id)).collect();
        deaths.sort_unstable();
        let (most, id) = deaths.pop()?;
        let next = deaths.last().map_or(0, |(deaths, _)| *deaths);
        let all_were_tried = deaths.iter().all(|(deaths, _)| *deaths >= 2);
        let is_ahead = (most >= 3 && most >= next + 2) || (most >= 5 && most > next && all_were_tried);
        (is_ahead && alone.is_none_or(|alone| alone == id)).then_some(id)
    }

    /// The suspects of a queue that could start.
    pub(super) fn startable_suspects(&self, queue: usize) -> impl Iterator<Item = u64> {
        let startable = move |id: &&u64| self.jobs[id].queue == queue && !self.is_group_held(**id);
        self.suspects.iter().filter(startable).copied()
    }

    /// The jobs that wait because the engine recovers, or has passed them over, and for how many milliseconds, according to the
    /// engine.
    pub fn recovers(&mut self, recovering: BTreeMap<u64, u64>) {
        self.recovering = recovering;
    }

    /// The jobs for which the engine is allowed to report that they were passed over while their groups were limited: the limit has
    /// ended less than this many milliseconds ago.
    pub fn may_be_passed_over(&self, millis: u64) -> Vec<u64> {
        let was_limited = |job: &Job| {
            let hold = job.group.and_then(|group| self.holds.get(&(job.queue, Some(group))));
            hold.is_some_and(|hold| hold.until <= self.now.mono && self.now.mono < hold.until + millis)
        };
        let may = |job: &Job| !job.state.is_final() && job.running.is_none() && was_limited(job);
        self.jobs.iter().filter(|(_, job)| may(job)).map(|(id, _)| *id).collect()
    }

    /// The jobs for which the engine is allowed to report that they wait because it recovers.
    pub fn may_recover(&self) -> Vec<u64> {
        let waits = |job: &Job| !job.state.is_final() && job.running.is_none();
        let waiting = self.jobs.iter().filter(|(_, job)| self.after_crash && waits(job));
        waiting.map(|(id, _)| *id).collect()
    }
}
