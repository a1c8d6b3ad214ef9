//! I29: unique keys. A key is held for as long as its mode says, and not longer: a call that finds it held stores nothing or
//! replaces a job that waits, and no other call does. A job runs with the payload that it was last replaced with, the jobs of
//! `keep_latest` run one after another, and nothing that was acknowledged is lost.
//!
//! The events of a commit are read right after it, in the order of its calls, so they tell who held a key when a call came.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{Error, Event, GroupPolicy, JobInfo, State};

use super::{DUPLICATE, Holds, Key, Note, REPLACED, Uniques, is_unique, key_name};
use crate::compare::{Moment, number_of};
use crate::oracle::{Check, Fate, Line, Oracle};
use crate::paths::took;

/// A call that enqueues a job with a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    key: usize,
    fate: Fate,
    /// The engine's time when it was made.
    line: Line,
}

/// A job with a key that is durable.
#[derive(Clone, Debug)]
struct Job {
    key: usize,
    /// The number of the call whose payload it has.
    n: u64,
    /// The numbers of all calls whose payload it was seen with.
    seen: BTreeSet<u64>,
    /// One commit replaced it more than once, or stored and replaced it: it had payloads that were not seen.
    had_others: bool,
    changed_in: u64,
    ended: Option<State>,
    /// Its handler has returned, and the end is not known to be durable; whether it completed the job, with which payload.
    ending: Option<(bool, u64)>,
    /// It ran, or its end was being written, when the commit was made that is reported now.
    is_taken: bool,
    /// A call was answered as it is only while the job is handed out: so it must have been.
    must_start: bool,
    /// Another job was stored with its key, so its end must be in the same commit.
    must_end: bool,
    /// It is not known whether its last end is durable.
    unsure: bool,
    /// An attempt has ended, and did not end it.
    is_back: bool,
    /// An operator's call has named it.
    steered: bool,
    /// When it was stored, by the oracle's age: not before and not after. Unknown if no event has reported it.
    stored: Option<(u64, u64)>,
    /// It does not start before this time of the engine, and waits for another enqueue no longer than to this time.
    not_before: Option<u64>,
    at_latest: Option<(u64, u64)>,
}

/// What is known of the jobs with keys.
#[derive(Default)]
pub(super) struct Known {
    jobs: BTreeMap<u64, Job>,
    /// The jobs whose handlers run, with the payload of which call.
    running: BTreeMap<u64, u64>,
    /// The last job that was stored with each key.
    holders: BTreeMap<usize, u64>,
    /// The answers that events have announced.
    answers: BTreeMap<(u64, u64), u64>,
    /// Events may be missing until the next comparison.
    blind: bool,
    /// And answers may be missing until the next opening.
    uncounted: bool,
    commits: u64,
    /// The oracle's age when the last commit began.
    age: u64,
}

impl Job {
    /// Its handler has completed it.
    fn completes(&self) -> bool {
        self.is_taken && self.ending.is_some_and(|(completes, _)| completes)
    }
}

impl Uniques {
    /// A call with this key is made. Returns its number.
    pub(super) fn asks(&mut self, key: usize, oracle: &Oracle) -> u64 {
        let n = self.asked.len() as u64 + 1;
        self.asked.insert(n, Asked { key, fate: Fate::Asked, line: oracle.line });
        n
    }

    pub(super) fn open_ids(&self) -> Vec<u64> {
        self.known.jobs.iter().filter(|(_, job)| job.ended.is_none()).map(|(id, _)| *id).collect()
    }

    pub(super) fn steered(&mut self, id: u64) {
        if let Some(job) = self.known.jobs.get_mut(&id) {
            job.steered = true;
        }
    }

    /// Events may be missing until the next comparison.
    pub fn is_in_doubt(&mut self) {
        (self.known.blind, self.known.uncounted) = (true, true);
    }

    /// The process has ended.
    pub fn forget(&mut self) {
        self.notes.lock().unwrap().clear();
    }

    /// The writer is about to make a commit.
    pub fn commits(&mut self, oracle: &Oracle) {
        self.known.age = oracle.age;
        self.known.commits += 1;
        for (id, job) in &mut self.known.jobs {
            job.is_taken = self.known.running.contains_key(id) || job.ending.is_some();
            job.unsure &= job.ending.is_some();
        }
    }

    /// The events of a commit were read.
    pub fn heard(&self) -> Check {
        match self.known.jobs.iter().find(|(_, job)| job.must_end && job.ended.is_none() && !self.known.blind) {
            Some((id, job)) => {
                Err(format!("I29: another job was stored with its key, and it has not ended: {id} {job:?}"))
            }
            None => Ok(()),
        }
    }

    // --- what handlers do -------------------------------------------------------------------------

    pub(super) fn seen(&mut self, note: Note, oracle: &Oracle) -> Check {
        match note {
            Note::Start { id, n } => self.started(id, n, oracle),
            Note::End { id, completes } => {
                let ran = self.known.running.remove(&id);
                if let Some(job) = self.known.jobs.get_mut(&id) {
                    job.ending = ran.map(|n| (completes, n));
                }
                Ok(())
            }
        }
    }

    fn started(&mut self, id: u64, n: u64, oracle: &Oracle) -> Check {
        let runs = self.known.running.insert(id, n).is_some();
        if self.known.blind {
            return Ok(());
        }
        let Some(job) = self.known.jobs.get(&id) else {
            return Err(format!("I29: job {id} of call {n} runs, and no event has reported its commit"));
        };
        let say = |why: &str| Err(format!("I29: {why}: job {id} runs as call {n}: {job:?}"));
        if job.n != n {
            return say("it runs as what it was before it was replaced");
        }
        if job.ended.is_some() || runs || job.ending.is_some() && !job.unsure {
            return say("it runs again");
        }
        if job.not_before.is_some_and(|at| oracle.line.most < at) && !job.is_back {
            return say(&format!("it starts at {:?} of the engine's time, and waits for calls", oracle.line.most));
        }
        if self.keys[job.key].holds == Holds::InTurn {
            let others = self.known.jobs.iter().filter(|(other, there)| **other != id && there.key == job.key);
            let mut ahead = others.filter(|(_, other)| other.ended.is_none());
            let blocks = self.policy == GroupPolicy::Block;
            let running = &self.known.running;
            if let Some(ahead) = ahead.find(|(other, _)| running.contains_key(other) || blocks && **other < id) {
                return say(&format!("it is the turn of {ahead:?}"));
            }
        }
        if job.seen.len() > 1 {
            took("a job ran as what it was replaced with");
        }
        let job = self.known.jobs.get_mut(&id).expect("it is there");
        (job.ending, job.must_start, job.unsure) = (None, false, false);
        Ok(())
    }

    /// Everything that needs no time is done.
    pub fn rested(&self, oracle: &Oracle, state: impl Fn(u64) -> Option<State>) -> Check {
        if self.known.blind {
            return Ok(());
        }
        for (id, job) in self.known.jobs.iter().filter(|(_, job)| job.ended.is_none()) {
            if job.must_start {
                return Err(format!("I29: its key was free because it was handed out, and it waits: {id} {job:?}"));
            }
            let is_over = job.at_latest.is_some_and(|(_, most)| oracle.line.least > most + 1_000);
            if is_over && !self.known.running.contains_key(id) && !job.is_back && state(*id) == Some(State::Scheduled) {
                return Err(format!("I29: it waits for calls for too long, at {}: {id} {job:?}", oracle.line.least));
            }
        }
        Ok(())
    }

    // --- events -----------------------------------------------------------------------------------

    /// An event of the queue of these jobs. `read` shows a job.
    pub fn told(&mut self, event: &Event, oracle: &Oracle, read: impl Fn(u64) -> Option<JobInfo>) -> Check {
        if self.known.blind {
            return Ok(());
        }
        match event {
            Event::Enqueued { id, .. } => self.enqueued(id.get(), oracle, read),
            Event::Replaced { id, .. } => self.replaced(id.get(), read),
            Event::Deduplicated { id, key, .. } => self.deduplicated(id.get(), key, oracle.opened_at),
            Event::Completed { id, .. } => self.ended(id.get(), State::Completed),
            Event::Cancelled { id, .. } => self.ended(id.get(), State::Cancelled),
            Event::Dead { id, .. } => self.ended(id.get(), State::Dead),
            Event::Retrying { id, .. } | Event::Snoozed { id, .. } => {
                let job = self.known.jobs.get_mut(&id.get()).ok_or(format!("I29: job {id} is unknown"))?;
                // One round of the writer can make several commits: a call of this one may still find it handed out.
                (job.is_back, job.must_start, job.ending, job.unsure) = (true, false, None, true);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The call whose payload a job has, and its key. It was not answered before, so it cannot come back.
    fn call_of(&self, info: &JobInfo) -> Result<(u64, usize), String> {
        let n = number_of(info).ok_or(format!("I25: an unknown payload: {info:?}"))?;
        let asked = self.asked.get(&n).ok_or(format!("I2: no call has asked for it: {info:?}"))?;
        if info.unique_key.as_deref() != Some(&key_name(asked.key)) {
            return Err(format!("I29: it has another key than its call {n}: {info:?}"));
        }
        match asked.fate {
            Fate::Refused => Err(format!("I3: call {n} was refused, and is stored: {info:?}")),
            _ => Ok((n, asked.key)),
        }
    }

    fn enqueued(&mut self, id: u64, oracle: &Oracle, read: impl Fn(u64) -> Option<JobInfo>) -> Check {
        let Some(info) = read(id) else {
            self.is_in_doubt();
            return Ok(());
        };
        let (n, key) = self.call_of(&info)?;
        let commit = self.known.commits;
        if let Some(holder) = self.known.holders.get(&key).copied() {
            let job = &self.known.jobs[&holder];
            if !self.is_free(key, holder, oracle.age) {
                return Err(format!("I29: {n} is stored as {id}, and {holder} holds its key: {job:?}"));
            }
            let job = self.known.jobs.get_mut(&holder).expect("it is there");
            if job.ended.is_none() && !job.unsure && self.keys[key].until_started() {
                took(match job.is_taken {
                    true => "a key was free because its job ran",
                    false => "a key was free because its job was handed out",
                });
                job.must_start = !job.is_taken;
            }
            job.must_end = job.ended.is_none() && matches!(self.keys[key].holds, Holds::UntilEnded(_));
        }
        let mut job = self.new_job(n, key, Some((self.known.age, oracle.age)));
        job.changed_in = commit;
        self.known.jobs.insert(id, job);
        self.known.holders.insert(key, id);
        *self.known.answers.entry((id, super::STORED)).or_default() += 1;
        Ok(())
    }

    fn new_job(&self, n: u64, key: usize, stored: Option<(u64, u64)>) -> Job {
        let line = self.asked[&n].line;
        let debounces = self.keys[key].debounces;
        // A call that was replaced in the same commit may have been the first one.
        let is_open = |asked: &&Asked| asked.key == key && !matches!(asked.fate, Fate::Stored | Fate::Refused);
        let open = || self.asked.values().filter(is_open).map(|asked| asked.line);
        let first = Line {
            least: open().map(|line| line.least).fold(line.least, u64::min),
            most: open().map(|line| line.most).fold(line.most, u64::max),
        };
        Job {
            key,
            n,
            seen: BTreeSet::from([n]),
            had_others: false,
            changed_in: 0,
            ended: None,
            ending: None,
            is_taken: false,
            must_start: false,
            must_end: false,
            unsure: false,
            is_back: false,
            steered: false,
            stored,
            not_before: debounces.map(|(quiet, at_most)| (line.least + quiet).min(first.least + at_most)),
            at_latest: debounces.map(|(_, most)| (first.least + most, first.most + most)),
        }
    }

    /// Whether this key can be free, although this job was the last one that was stored with it.
    fn is_free(&self, key: usize, holder: u64, age: u64) -> bool {
        let job = &self.known.jobs[&holder];
        let passed = |time: u64| job.stored.is_none_or(|(not_before, _)| age - not_before >= time);
        match (self.keys[key].holds, job.ended) {
            (Holds::Window(window), _) => passed(window),
            // A job that completes in the same commit holds its key no longer: its row is removed before the calls are made.
            (Holds::UntilEnded(at_least), None) => job.completes() && passed(at_least),
            (Holds::UntilEnded(_), Some(State::Cancelled)) => true,
            (Holds::UntilEnded(at_least), Some(_)) => passed(at_least),
            // If it was not taken, it was handed out and not called yet: `must_start` says so.
            (Holds::UntilStarted | Holds::InTurn, _) => true,
        }
    }

    fn replaced(&mut self, id: u64, read: impl Fn(u64) -> Option<JobInfo>) -> Check {
        let Some(info) = read(id) else {
            self.is_in_doubt();
            return Ok(());
        };
        let (n, key) = self.call_of(&info)?;
        let commit = self.known.commits;
        let (line, debounces) = (self.asked[&n].line, self.keys[key].debounces);
        let is_holder = self.known.holders.get(&key) == Some(&id);
        let Some(job) = self.known.jobs.get_mut(&id) else { return Err(format!("I29: job {id} is unknown")) };
        let (is_back, is_taken) = (job.is_back, job.is_taken && !job.unsure || job.must_start);
        if !self.keys[key].replaces || !is_holder || job.key != key || job.ended.is_some() || is_taken {
            return Err(format!("I29: job {id} is replaced by call {n}: {job:?}"));
        }
        job.had_others |= job.changed_in == commit;
        (job.n, job.changed_in) = (n, commit);
        job.seen.insert(n);
        // It starts anew.
        (job.is_back, job.not_before) = (false, None);
        if let (Some((quiet, at_most)), Some((least, most))) = (debounces, job.at_latest) {
            job.not_before = Some((line.least + quiet).min(least));
            // If it had started, the latest time may be counted from now on.
            job.at_latest = Some((least, if is_back { most.max(line.most + at_most) } else { most }));
            took("a job that waits for calls was put off by another one");
        }
        took("a waiting job was replaced");
        *self.known.answers.entry((id, REPLACED)).or_default() += 1;
        Ok(())
    }

    fn deduplicated(&mut self, id: u64, key: &str, opened_at: u64) -> Check {
        let age = self.known.age;
        let Some(job) = self.known.jobs.get_mut(&id) else { return Err(format!("I29: job {id} is unknown")) };
        let plan = self.keys[job.key];
        // While a process lives, all time counts.
        let since = job.stored.map(|(_, not_after)| not_after.max(opened_at));
        let passed = |time: u64| since.is_some_and(|since| age.saturating_sub(since) >= time);
        let holds = match (plan.holds, job.ended) {
            (Holds::Window(window), _) => !passed(window),
            // It would be replaced if it were not handed out.
            (Holds::UntilEnded(_), None) => {
                job.must_start |= plan.replaces && !job.is_taken && !job.unsure;
                true
            }
            (Holds::UntilEnded(_), Some(State::Cancelled)) => false,
            (Holds::UntilEnded(at_least), Some(_)) => !passed(at_least),
            // A job that waits would be replaced, and the key of one that runs is free.
            (Holds::UntilStarted | Holds::InTurn, None) => !plan.replaces && (!job.is_taken || job.unsure),
            (Holds::UntilStarted | Holds::InTurn, Some(_)) => false,
        };
        let is_holder = self.known.holders.get(&job.key) == Some(&id);
        if !holds || !is_holder || key != key_name(job.key) {
            return Err(format!(
                "I29: a call with the key {key} is answered with {id}, which does not hold it: {job:?}"
            ));
        }
        if plan.replaces {
            took("a job that runs was not replaced");
        }
        if matches!(plan.holds, Holds::Window(_)) && job.ended.is_some() {
            took("a window held a key after the end of its job");
        }
        took("a call found its key held");
        *self.known.answers.entry((id, DUPLICATE)).or_default() += 1;
        Ok(())
    }

    /// An event has said that a job has ended.
    fn ended(&mut self, id: u64, state: State) -> Check {
        let Some(job) = self.known.jobs.get_mut(&id) else { return Err(format!("I29: job {id} is unknown")) };
        let legal = match state {
            State::Completed => job.ending == Some((true, job.n)),
            State::Cancelled => job.steered,
            _ => false,
        };
        if !legal || job.ended.is_some() {
            return Err(format!("I29: it has no reason to end as {state:?}: {id} {job:?}"));
        }
        (job.ended, job.ending, job.must_start) = (Some(state), None, false);
        let (n, key) = (job.n, job.key);
        let waits = |job: &Job| job.key == key && job.ended.is_none() && job.n > n;
        if self.keys[key].holds == Holds::InTurn && self.known.jobs.values().any(waits) {
            took("a job was next when the one before it with its key ended");
        }
        Ok(())
    }

    // --- answers ----------------------------------------------------------------------------------

    /// A call was answered.
    pub fn answered(&mut self, n: u64, answer: &Result<Vec<u64>, Error>, oracle: &Oracle) -> Check {
        let known = &self.known;
        let asked = self.asked.get_mut(&n).expect("it was asked");
        let stored = known.jobs.iter().find(|(_, job)| job.seen.contains(&n)).map(|(id, _)| *id);
        asked.fate = match answer {
            Ok(answer) if answer[1] == DUPLICATE => Fate::Refused,
            Ok(_) => Fate::Stored,
            Err(error) => {
                oracle.legal_error(error)?;
                if matches!(error, Error::OutcomeUnknown { .. }) { Fate::Open } else { Fate::Refused }
            }
        };
        if known.blind {
            return Ok(());
        }
        if asked.fate == Fate::Refused && stored.is_some() {
            return Err(format!("I3: call {n} was answered with {answer:?}, and is stored: {stored:?}"));
        }
        let Ok(answer) = answer else { return Ok(()) };
        let (id, status) = (answer[0], answer[1]);
        let Some(job) = known.jobs.get(&id) else {
            return Err(format!("I1: call {n} was answered with {id}, and no event has reported that job"));
        };
        let is_there = asked.fate == Fate::Refused || stored == Some(id) || stored.is_none() && job.had_others;
        if job.key != asked.key || !is_there {
            return Err(format!("I29: call {n} {asked:?} was answered with {answer:?}: {job:?}"));
        }
        let announced = self.known.answers.entry((id, status)).or_default();
        match announced.checked_sub(1) {
            Some(left) => *announced = left,
            None if self.known.uncounted => {}
            None => return Err(format!("I29: no event has announced the answer {answer:?} to call {n}")),
        }
        Ok(())
    }

    /// A call was dropped; `asked` tells whether it had been polled.
    pub fn dropped(&mut self, n: u64, asked: bool) {
        let call = self.asked.get_mut(&n).expect("it was asked");
        if call.fate == Fate::Asked {
            call.fate = if asked { Fate::Adrift } else { Fate::Refused };
        }
    }

    // --- the file ---------------------------------------------------------------------------------

    /// Compares all jobs of the file.
    pub fn compare(&mut self, moment: Moment, jobs: &[JobInfo]) -> Check {
        let moment = if self.known.blind && moment == Moment::Running { Moment::Healed } else { moment };
        let is_over = matches!(moment, Moment::Closed | Moment::Crashed);
        let in_doubt = std::mem::take(&mut self.known.blind);
        let found: BTreeMap<u64, &JobInfo> =
            jobs.iter().filter(|info| is_unique(info)).map(|info| (info.id.get(), info)).collect();
        if let Some((id, job)) = self.known.jobs.iter().find(|(id, _)| !found.contains_key(id)) {
            return Err(format!("I1: at {moment:?} job {id} is missing: {job:?}"));
        }
        for (id, info) in &found {
            self.present(*id, info, moment, in_doubt)?;
        }
        if is_over {
            self.known.running.clear();
        }
        for (id, job) in &mut self.known.jobs {
            if moment != Moment::Running && job.ended.is_none() {
                // Whether it was given back, or has run, is not known.
                (job.must_start, job.must_end) = (false, false);
                (job.is_back, job.unsure) = (true, job.ending.is_some());
            }
            if is_over {
                (job.ending, job.unsure) = (None, false);
            }
            let last = self.known.holders.entry(job.key).or_default();
            *last = (*last).max(*id);
        }
        for asked in self.asked.values_mut() {
            let is_decided = asked.fate == Fate::Open && moment != Moment::Running
                || is_over && matches!(asked.fate, Fate::Asked | Fate::Adrift);
            if is_decided {
                // It was found above if it is stored. It never will be from now on.
                asked.fate = Fate::Refused;
            }
        }
        if is_over {
            self.known.answers.clear();
            self.known.uncounted = false;
        }
        self.one_at_a_time()
    }

    /// A job of the file.
    fn present(&mut self, id: u64, info: &JobInfo, moment: Moment, in_doubt: bool) -> Check {
        let (n, key) = match self.known.jobs.get(&id) {
            Some(job) if number_of(info) == Some(job.n) => (job.n, job.key),
            _ if moment == Moment::Running => {
                return Err(format!(
                    "I29: no event has reported what call it is: {info:?}, {:?}",
                    self.known.jobs.get(&id)
                ));
            }
            Some(job) if job.ended.is_some() || !self.keys[job.key].replaces => {
                return Err(format!("I29: it has another payload: {info:?}, {job:?}"));
            }
            _ => {
                took("a call with a key was durable, and no event said so");
                self.call_of(info)?
            }
        };
        if !self.known.jobs.contains_key(&id) {
            let job = Job { not_before: None, at_latest: None, ..self.new_job(n, key, None) };
            self.known.jobs.insert(id, job);
        }
        let job = self.known.jobs.get_mut(&id).expect("it was inserted");
        if job.n != n {
            job.n = n;
            job.seen.insert(n);
            job.had_others = true;
            job.not_before = None;
        }
        if let Some(asked) = self.asked.get_mut(&n).filter(|asked| asked.fate == Fate::Open) {
            asked.fate = Fate::Stored;
        }
        if job.key != key {
            return Err(format!("I29: it has another key: {info:?}, {job:?}"));
        }
        match (job.ended, info.state) {
            (Some(ended), state) if ended == state => Ok(()),
            (None, state) if !state.is_final() => Ok(()),
            (None, state) if moment != Moment::Running => {
                let legal = match state {
                    State::Completed => in_doubt || job.ending.is_some_and(|(completes, _)| completes),
                    State::Cancelled => job.steered,
                    _ => false,
                };
                (job.ended, job.ending) = (Some(state), None);
                if legal { Ok(()) } else { Err(format!("I29: it has no reason for this end: {info:?}, {job:?}")) }
            }
            (known, _) => Err(format!("I7: it has ended as {known:?}: {info:?}, {job:?}")),
        }
    }

    /// Of the jobs that hold a key until their end, no two have not ended; of those that run in turn, one runs and one is next.
    fn one_at_a_time(&self) -> Check {
        for (key, plan) in self.keys.iter().enumerate() {
            let most = match plan.holds {
                Holds::UntilEnded(_) => 1,
                Holds::InTurn if self.policy == GroupPolicy::Block => 2,
                _ => continue,
            };
            let open = self.known.jobs.iter().filter(|(_, job)| job.key == key && job.ended.is_none());
            let open: Vec<_> = open.collect();
            if open.len() > most {
                return Err(format!("I29: {plan:?} allows {most} jobs that have not ended: {open:?}"));
            }
        }
        Ok(())
    }

    /// Everything has ended.
    pub fn over(&self) -> Check {
        let open = |job: &Job| !matches!(job.ended, Some(State::Completed | State::Cancelled));
        match self.known.jobs.iter().find(|(_, job)| open(job)) {
            Some((id, job)) => Err(format!("I6: it has not completed: {id} {job:?}")),
            None => Ok(()),
        }
    }
}

impl Key {
    fn until_started(&self) -> bool {
        matches!(self.holds, Holds::UntilStarted | Holds::InTurn)
    }
}
