//! Checks what handlers do against what is allowed.

use std::collections::BTreeSet;

use millpond::RunNumber;

use crate::handlers::{Act, Note};
use crate::oracle::{Check, Ending, Fate, Job, Oracle, Origin, Run, ever};
use crate::paths::took;
use crate::plan::When;

impl Oracle {
    // --- what handlers do ---------------------------------------------------------------------

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
        if group.is_some()
            && let Some(other) = rivals.clone().find(|other| (other.spec.queue, other.spec.group) == (queue, group))
        {
            return say("I9", &format!("another job of its group runs: {other:?}"));
        }
        self.in_group_order(n)?;
        if let Some(taken) = taken {
            self.allowed(n, taken)?;
            self.in_order(n, taken)?;
            self.within_rate(n, taken)?;
        }
        let job = &self.jobs[&n];
        if job.redriven && group.is_some() {
            took("a redriven member went to its group's tail");
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

    /// In a group that blocks, every job before this one has ended.
    fn in_group_order(&self, n: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        if group.is_none() || self.policy_changed.contains(&queue) || job.place == u64::MAX {
            return Ok(());
        }
        let before = |other: &&Job| {
            (other.spec.queue, other.spec.group) == (queue, group)
                && other.since.is_some()
                && other.ended.is_none()
                && other.place < job.place
        };
        let skips = self.skips[queue];
        // Where groups skip, members that are not due are passed by.
        let is_due = |other: &&Job| {
            !skips
                || ((other.starts, other.attempts) == (0, 0)
                    && other.spec.when == When::Now
                    && !other.steered
                    && !other.put_off
                    && !other.redriven)
        };
        let mut ahead = self.jobs.values().filter(before);
        if skips && ahead.clone().next().is_some() {
            took("a parked member was passed by");
        }
        match ahead.find(is_due) {
            Some(other) => Err(format!("I9: {job:?} starts before {other:?}, which comes before it in the group")),
            None => Ok(()),
        }
    }

    /// Checks slots, pauses, workers and holds.
    fn allowed(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        let say = |law: &str, why: &str| Err(format!("{law}: {why}: {job:?}, handed out at {taken} of {}", self.mono));
        // A job that was handed out later was counted against the limits of that time.
        let by_then = |other: &Job| other.running.is_some_and(|run| run.taken.is_some_and(|since| since <= taken));
        let running = || self.jobs.values().filter(|other| by_then(other));
        let here = running().filter(|other| other.spec.queue == queue).count();
        let slots = ever(&self.slots[queue], taken).max().unwrap_or(0);
        if here + 1 > slots {
            return say("I10", &format!("{here} of its queue run already, with {slots} slots"));
        }
        let max = ever(&self.max_running, taken).max().unwrap_or(0);
        if running().count() + 1 > max {
            return say("I10", &format!("{} run already, and {max} are allowed to", running().count()));
        }
        if ever(&self.paused[queue], taken).all(|paused| paused) {
            return say("I15", &format!("its queue is paused: {:?}", self.paused[queue]));
        }
        if let Some(group) = group
            && let Some(history) = self.paused_groups.get(&(queue, group))
            && ever(history, taken).all(|paused| paused)
        {
            return say("I9", "its group is paused");
        }
        if !ever(&self.has_worker[queue], taken).any(|has_worker| has_worker) {
            return say("I15", "its queue has no worker");
        }
        for key in [(queue, None), (queue, group)] {
            if let Some((since, until)) = self.holds.get(&key).copied()
                && taken > since
                && taken < until
            {
                return say("I11", &format!("an answer holds {key:?} back until {until}"));
            }
        }
        Ok(())
    }

    /// No more urgent job was ready when this one was handed out.
    fn in_order(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        if let Some(by) = job.taken_by
            && taken > by
        {
            return Err(format!("I13: a job after it was handed out at {by}, it at {taken}: {job:?}"));
        }
        if job.suspect || job.steered || job.place == u64::MAX {
            return Ok(());
        }
        let (queue, plain, priority, id) = (job.spec.queue, job.spec.group.is_none(), job.spec.priority, job.id);
        let all_kinds = self.plan.queues[queue].all_kinds;
        let heads = self.heads(queue, taken);
        let (harmed, after_crash) = (self.harmed, self.after_crash);
        for (number, other) in &mut self.jobs {
            let goes_before = other.spec.priority < priority
                || plain && other.spec.group.is_none() && other.spec.priority == priority && other.id < id;
            let passed = other.spec.queue == queue
                && (other.spec.group.is_none() || heads.contains(number))
                && other.since.is_some_and(|since| since < taken)
                && other.ended.is_none()
                && (other.starts, other.attempts) == (0, 0)
                && !other.steered
                && !other.put_off
                && !other.suspect
                // It may have been handed out earlier, and given back because its start mark could not be written.
                && !(harmed && (other.spec.once || after_crash))
                && other.spec.when == When::Now
                && other.spec.expires.is_none()
                && (all_kinds || other.spec.kind == 0)
                && other.running.is_none()
                && goes_before;
            if passed {
                other.taken_by = Some(other.taken_by.map_or(taken, |by| by.min(taken)));
            }
        }
        Ok(())
    }

    /// The heads of the queue's groups that nothing holds back, if they have been heads since before `taken`.
    fn heads(&self, queue: usize, taken: u64) -> BTreeSet<u64> {
        let mut heads = BTreeSet::new();
        if self.policy_changed.contains(&queue) || self.skips[queue] || self.plan.queues[queue].group_rate.is_some() {
            return heads;
        }
        for group in 0..self.plan.groups {
            let key = (queue, group);
            let of_group = (queue, Some(group));
            let held = self.paused_groups.contains_key(&key)
                || self.holds.contains_key(&of_group)
                || self.held_before.contains(&of_group);
            if held || self.moved.get(&key).is_some_and(|moved| *moved >= taken) {
                continue;
            }
            let here = |job: &&Job| {
                (job.spec.queue, job.spec.group) == (queue, Some(group)) && job.since.is_some() && job.ended.is_none()
            };
            let line: Vec<&Job> = self.jobs.values().filter(here).collect();
            if line.iter().all(|job| job.place != u64::MAX && !job.steered)
                && let Some(head) = line.iter().min_by_key(|job| job.place)
            {
                heads.insert(head.spec.n);
            }
        }
        heads
    }

    /// No job was passed by when one after it was handed out, and has still not started although everything that was
    /// handed out has begun.
    pub fn no_job_was_passed_by(&self) -> Check {
        match self.jobs.values().find(|job| job.taken_by.is_some() && job.ended.is_none()) {
            Some(job) => Err(format!("I13: a job after it was handed out and it was not: {job:?}")),
            None => Ok(()),
        }
    }

    fn within_rate(&mut self, n: u64, taken: u64) -> Check {
        let job = &self.jobs[&n];
        let (queue, group) = (job.spec.queue, job.spec.group);
        let plan = &self.plan.queues[queue];
        let keys = [((queue, None), plan.rate), ((queue, group), group.and(plan.group_rate))];
        for (key, rate) in keys {
            let Some((rate, burst)) = rate else { continue };
            let log = self.rated.entry(key).or_default();
            log.push(taken);
            log.sort_unstable();
            for (at, from) in log.iter().enumerate() {
                for (count, to) in log[at..].iter().enumerate() {
                    let most = f64::from(burst) + rate.tokens_per_second() * (to - from) as f64 / 1e9;
                    if (count + 1) as f64 > most + 1e-3 {
                        return Err(format!(
                            "I11: {} starts of {key:?} from {from} to {to}, at most {most}",
                            count + 1
                        ));
                    }
                }
            }
        }
        Ok(())
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
        job.ending = Some(Ending { run, act, attempt: running.attempt });
        job.last_act = act;
        let own = job.spec.backoff.unwrap_or(backoff);
        let (used, wait) = match act {
            // The run was dropped: a timeout, or it was taken back.
            None => (true, Some(own)),
            Some(Act::Fail | Act::HookErrs | Act::HookPanics | Act::Panic | Act::Broke) => (true, Some(own)),
            Some(Act::RetryAfter(delay)) => (true, Some(delay)),
            Some(Act::Snooze(delay)) => (false, Some(delay)),
            Some(Act::RateLimited(_)) => (false, None),
            _ => (true, None),
        };
        job.not_before = wait.map(|wait| line.least + wait);
        if matches!(act, Some(Act::Snooze(_) | Act::RateLimited(_))) {
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
            Some(Act::RateLimited(delay)) => {
                // It is back in its place without an event: it is allowed to start again once that is committed.
                job.ending = None;
                let key = (job.spec.queue, job.spec.group);
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
