//! I5, I8, I12, I17: what handlers do. A job starts only when it is durable and due, its runs do not overlap, and each run has
//! the next attempt and a number of its own. The other invariants of a start have files of their own.

use millpond::RunNumber;
use millpond_testkit::When;

use super::{Check, Ending, Fate, Job, Oracle, Origin, Run};
use crate::handlers::{Act, Note};
use crate::paths::took;

impl Oracle {
    pub fn seen(&mut self, note: &Note) -> Check {
        match note {
            Note::Start { n, id, attempt, max, taken, deadline, run, number, child, guest } => {
                self.numbered(*n, *number)?;
                self.started(*n, *id, *attempt, *max, (*taken, *deadline), *run)?;
                if let Some(guest) = guest {
                    self.guest_started(*n, *taken, *guest)?;
                }
                if let Some(child) = child {
                    self.make(child, Origin::Parent { n: *n, run: *run });
                }
                Ok(())
            }
            Note::End { n, run, act } => {
                self.returned(*n, *run, *act);
                self.guest_ended(*n, *act);
                Ok(())
            }
            Note::Blocked { millis } => {
                self.advanced(*millis);
                Ok(())
            }
            Note::Reused { n, calls } => self.reused(*n, *calls),
            Note::Read { n, seen, before } => self.read(*n, *seen, *before),
            Note::Child { n, run, child, accepted } => self.fanned_out(*n, *run, child, *accepted),
            Note::Unseen { id } => {
                self.unseen(*id);
                Ok(())
            }
            Note::Wrong(why) => Err(why.clone()),
            Note::Told { n } => {
                took("a handler was told to stop");
                let _ = n;
                Ok(())
            }
        }
    }

    fn started(
        &mut self,
        n: u64,
        id: u64,
        attempt: u32,
        max: u32,
        (taken, deadline): (Option<u64>, Option<u64>),
        run: u32,
    ) -> Check {
        let called = self.mono;
        let Some(job) = self.jobs.get(&n) else {
            return Err(format!("I3: job {n} runs, and no call has asked for it"));
        };
        let (queue, group) = (job.spec.queue, job.spec.group);
        let say = |law: &str, why: &str| Err(format!("{law}: {why}: {job:?} at {taken:?} of {}", self.mono));
        if job.fate == Fate::Refused {
            return say("I3", "it was refused, and runs");
        }
        if self.blind {
            self.learned(n, id)?;
            let run = Run { run, attempt, taken, called, deadline, marked: false };
            let job = self.job(n);
            (job.running, job.starts) = (Some(run), run.run);
            return Ok(());
        }
        if job.since.is_none() {
            return say("I5", "it runs, and no event has reported its commit");
        }
        if job.id != Some(id) {
            return say("I16", "it runs under another id");
        }
        if job.ended.is_some() {
            return say("I7", "it has ended and runs again");
        }
        if job.cancel_requested {
            return say("I15", "its cancel was requested, and it runs again");
        }
        if job.running.is_some() {
            return say("I8", "it already runs");
        }
        if job.ending.is_some() {
            return say("I8", "it runs again before the end of its last run is durable");
        }
        if attempt != job.attempts + 1 || attempt > max || max != self.limit(job) {
            return say("I17", &format!("the handler sees attempt {attempt} of {max}"));
        }
        if job.spec.once && job.spent {
            return say("I17", "it runs at most once, and runs again");
        }
        if !job.steered && !job.redriven {
            if job.not_before.is_some_and(|at| self.line.most < at) {
                return say("I12", &format!("it starts early, at {} of the engine's time", self.line.most));
            }
            if matches!(job.spec.when, When::At(at) if job.wall_seen < at) {
                return say("I12", "it starts early by the wall clock");
            }
        }
        if !self.plan.queues[queue].all_kinds && job.spec.kind != 0 {
            return say("I15", "its worker does not handle its kind");
        }
        let rivals = self.jobs.values().filter(|other| other.running.is_some());
        if group.is_some() {
            let of_group = |other: &&Job| (other.spec.queue, other.spec.group) == (queue, group);
            let beside: Vec<&Job> = rivals.clone().filter(of_group).collect();
            if beside.len() >= self.plan.queues[queue].group_concurrency as usize {
                return say("I9", &format!("as many jobs of its group run as may run at a time: {beside:?}"));
            }
            if !beside.is_empty() {
                took("jobs of a group ran at the same time");
            }
        }
        self.in_group_order(n)?;
        if let Some(taken) = taken {
            self.allowed(n, taken)?;
            self.within_limits(n, taken)?;
            self.in_order(n, taken)?;
            self.within_rate(n, taken)?;
            self.no_circuit_is_open(n, taken)?;
        }
        let job = &self.jobs[&n];
        if job.redriven && group.is_some() {
            took("a redriven member started again");
        }
        let alone = !self.jobs.values().any(|other| other.running.is_some());
        if job.suspect && alone {
            took("a suspect ran alone");
        }
        let abandoned = self.abandoned;
        let job = self.job(n);
        job.released = abandoned.then(|| attempt - 1);
        job.spent = true;
        job.running = Some(Run { run, attempt, taken, called, deadline, marked: false });
        job.starts = run;
        job.suspect = false;
        job.taken_by = None;
        Ok(())
    }

    /// No other run has this number, and earlier runs of its job have lower ones.
    fn numbered(&mut self, n: u64, number: Option<RunNumber>) -> Check {
        let Some(number) = number else { return Ok(()) };
        let is_new = self.numbers.insert(number);
        let Some(job) = self.jobs.get_mut(&n) else { return Ok(()) };
        if !is_new || job.number.is_some_and(|before| before >= number) {
            return Err(format!("I17: run {number} of it is not a new one: {job:?}"));
        }
        job.number = Some(number);
        Ok(())
    }

    pub fn limit(&self, job: &Job) -> u32 {
        if job.spec.once {
            return 1;
        }
        job.spec.max.unwrap_or(self.plan.queues[job.spec.queue].attempts)
    }

    fn returned(&mut self, n: u64, run: u32, act: Option<Act>) {
        let (mono, line, backoff) = (self.mono, self.line, self.plan.queues[self.jobs[&n].spec.queue].backoff);
        let limit = self.limit(&self.jobs[&n]);
        let job = self.job(n);
        let Some(running) = job.running.take() else { return };
        let is_late = act.is_some() && running.deadline.is_some_and(|deadline| deadline <= mono);
        if is_late {
            took("an answer came when the attempt's time was over");
        }
        let act = act.filter(|_| !is_late);
        let at = running.taken.map(|taken| (taken, mono));
        job.ending = Some(Ending { run, act, attempt: running.attempt, at });
        job.last_act = act;
        let own = job.spec.backoff.unwrap_or(backoff);
        self.may_fail(n, act);
        let job = self.job(n);
        let (used, wait) = match act {
            // The run was dropped: a timeout, or it was taken back.
            None => (true, Some(own)),
            Some(Act::Fail | Act::HookErrs | Act::HookPanics | Act::Panic | Act::Broke) => (true, Some(own)),
            Some(Act::RetryAfter(delay)) => (true, Some(delay)),
            Some(Act::Snooze(delay)) => (false, Some(delay)),
            Some(Act::RateLimited(_) | Act::RateLimitedQueue(_)) => (false, None),
            _ => (true, None),
        };
        job.not_before = wait.map(|wait| line.least + wait);
        if matches!(act, Some(Act::Snooze(_) | Act::RateLimited(_) | Act::RateLimitedQueue(_))) {
            // Its handler wants to be called again.
            job.spent = false;
        }
        if used {
            job.attempts = running.attempt;
            if wait.is_some() && running.attempt >= limit {
                took("no attempts were left");
            }
        }
        match act {
            Some(Act::Panic) => took("a panic in a handler"),
            Some(Act::Broke) => took("a guest broke"),
            Some(Act::Kept(_)) => took("a guest completed its job"),
            Some(Act::RateLimited(delay) | Act::RateLimitedQueue(delay)) => {
                // It is back in its place without an event: it is allowed to start again once that is committed.
                job.ending = None;
                let is_of_queue = matches!(act, Some(Act::RateLimitedQueue(_)));
                let key = (job.spec.queue, job.spec.group.filter(|_| !is_of_queue));
                if is_of_queue && job.spec.group.is_some() {
                    took("an answer about a job of a group held the whole queue back");
                }
                let until = mono + delay * 1_000_000;
                let hold = self.holds.entry(key).or_insert((mono, until));
                if until >= hold.1 {
                    *hold = (mono, until);
                }
                took("an answer held a queue or group back");
            }
            _ => {}
        }
    }
}
