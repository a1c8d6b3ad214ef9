//! The invariant: each answer of a handler has the consequence that is documented: the job ends, is put off, or returns to
//! its place; and it uses one attempt, or none.

use millpond::State;
use millpond_testkit::JobSpec;

use super::{ATTEMPTS, BACKOFF, Due, Hold, Hook, Line, Model, ONCE, SNOOZE_MIN, death_row, hook_of, hook_row};
use crate::engine::talks;
use crate::ops::Answer;

/// Of how many attempts a job keeps what they reported.
const LOGS_MAX: usize = 5;

impl Model {
    pub(super) fn end(&mut self, id: u64, state: State) {
        let now = self.now.age;
        let was_head = self.is_head(id);
        let job = self.job(id);
        job.state = state;
        (job.running, job.ticket, job.parked, job.ended) = (None, None, false, now);
        let totals = &mut self.totals[self.jobs[&id].queue];
        match state {
            State::Dead => {
                totals.dead += 1;
                self.call_hook(id);
                self.hold(id);
            }
            State::Cancelled => totals.cancelled += 1,
            _ => totals.completed += 1,
        }
        self.no_longer_suspected(id);
        if was_head {
            let key = self.key(id).expect("it was a head");
            self.leave_heads(key, id);
        }
    }

    pub(super) fn limit(&self, id: u64) -> u32 {
        match self.jobs[&id].max {
            Some(ONCE) => 1,
            max => max.unwrap_or(ATTEMPTS),
        }
    }

    pub(super) fn runs_once(&self, id: u64) -> bool {
        self.jobs[&id].max == Some(ONCE)
    }

    pub fn answered(&mut self, id: u64, answer: Answer) {
        let run = self.jobs[&id].running.expect("only a running job is answered");
        self.share_tickets();
        if talks(id) {
            let logs = &mut self.job(id).logs;
            logs.push(run.attempt);
            logs.drain(..logs.len().saturating_sub(LOGS_MAX));
        }
        if self.jobs[&id].cancel_requested && !answer.completes() {
            self.end_as_requested(id, answer);
            self.promote_as_fresh();
            return;
        }
        match answer {
            Answer::Done => self.done(id, run.attempt),
            Answer::DoneWithRow => {
                self.done(id, run.attempt);
                self.rows.insert(hook_row(id));
            }
            Answer::DoneWithJob(spec) => {
                self.done(id, run.attempt);
                self.rows.insert(hook_row(id));
                if self.there_already(&spec).is_none() {
                    self.awaited.push(spec);
                }
            }
            Answer::DoneButHookErrs | Answer::DoneButHookPanics | Answer::Fail | Answer::Panic => {
                self.failed(id, run.attempt, BACKOFF);
            }
            Answer::RetryAfter(delay) => self.failed(id, run.attempt, delay),
            Answer::Snooze(delay) => {
                self.job(id).begun = true;
                let state = if self.jobs[&id].attempts == 0 { State::Scheduled } else { State::Retrying };
                self.put_off(id, state, delay.max(SNOOZE_MIN));
            }
            Answer::RateLimited(delay) | Answer::RateLimitedQueue(delay) => {
                self.hold_back(id, answer, delay);
                self.return_to_its_place(id);
            }
            Answer::Cancel => {
                self.job(id).attempts = run.attempt;
                self.end(id, State::Cancelled);
            }
            Answer::DeadLetter => {
                self.job(id).attempts = run.attempt;
                self.end(id, State::Dead);
            }
        }
        self.promote_as_fresh();
    }

    fn hold_back(&mut self, id: u64, answer: Answer, delay: u64) {
        let delay = delay.max(SNOOZE_MIN);
        let job = &self.jobs[&id];
        let group = job.group.filter(|_| matches!(answer, Answer::RateLimited(_)));
        let new = Hold { until: self.now.mono + delay, stored: self.now.age + delay };
        let until = new.until;
        let hold = self.holds.entry((job.queue, group)).or_insert(new);
        if until >= hold.until {
            *hold = new;
        }
    }

    /// An attempt that does not complete its job, whose cancel was requested: the job ends as cancelled, whatever the answer is.
    fn end_as_requested(&mut self, id: u64, answer: Answer) {
        let attempt = self.jobs[&id].running.expect("it runs").attempt;
        match answer {
            Answer::RateLimited(delay) | Answer::RateLimitedQueue(delay) => self.hold_back(id, answer, delay),
            Answer::Snooze(_) => {}
            Answer::Cancel | Answer::DeadLetter => self.job(id).attempts = attempt,
            _ => self.note_error(id, attempt),
        }
        self.cancel(id);
    }

    pub(super) fn note_error(&mut self, id: u64, attempt: u32) {
        let job = self.job(id);
        job.attempts = attempt;
        job.errors += 1;
    }

    fn done(&mut self, id: u64, attempt: u32) {
        self.job(id).attempts = attempt;
        self.end(id, State::Completed);
    }

    fn failed(&mut self, id: u64, attempt: u32, delay: u64) {
        let limit = self.limit(id);
        self.note_error(id, attempt);
        self.job(id).begun = true;
        if attempt >= limit {
            self.end(id, State::Dead);
        } else {
            self.put_off(id, State::Retrying, delay);
        }
    }

    fn put_off(&mut self, id: u64, state: State, delay: u64) {
        self.no_longer_suspected(id);
        let due = Due { line: Line::Engine, at: self.now.engine + delay };
        let job = self.job(id);
        (job.state, job.due, job.running, job.ticket) = (state, Some(due), None, None);
        let Some(key) = self.key(id) else { return };
        if self.queues[key.0].skips {
            self.job(id).parked = true;
            self.leave_heads(key, id);
        } else {
            self.set_head(key, id);
            self.job(id).fresh = true;
        }
    }

    /// The job uses no attempt and keeps its place.
    pub(super) fn return_to_its_place(&mut self, id: u64) {
        self.no_longer_suspected(id);
        let paused = self.key(id).is_some_and(|key| self.group(key).paused);
        let job = self.job(id);
        job.running = None;
        job.fresh = true;
        if paused {
            job.ticket = None;
        }
    }

    /// The only attempt of this job was interrupted.
    pub(super) fn cut_short(&mut self, id: u64) {
        self.note_error(id, self.jobs[&id].running.expect("it runs").attempt);
        self.end(id, State::Dead);
    }

    /// The hook for dead jobs writes in the commit that makes the job dead, unless the hook fails.
    fn call_hook(&mut self, id: u64) {
        let hook = hook_of(id);
        if matches!(hook, Hook::Errs | Hook::Panics) {
            return;
        }
        let deaths = self.deaths.entry(id).or_default();
        self.rows.insert(death_row(id, *deaths));
        *deaths += 1;
        if hook == Hook::Enqueues {
            self.awaited.push(JobSpec::PLAIN);
        }
    }
}
