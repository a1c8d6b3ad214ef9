//! What the queue must do, written as simply as possible: lists and counters in memory, no file, no
//! threads, no indexes.
//!
//! The engine must follow these rules of dispatch:
//!
//! 1. A job without a group is ready when it is pending; of a group only the head can be ready. When a
//!    group has no head, the first job in its order becomes the head. It stays the head until it ends (or is
//!    parked, where a queue's groups skip), and is ready when it is due and its group is not paused.
//! 2. Of a queue's ready jobs the more urgent priority starts first, strictly. At equal priority jobs
//!    without a group start by id, heads by the ticket that they drew when they became ready. Between a
//!    job without a group and a head of equal priority, either choice is legal.
//! 3. Nothing starts in a paused queue, without a worker, beyond the worker's or the process's slots,
//!    or while a rate limit holds back the queue (or the head's group).
//! 4. A ready job that none of these rules stops must start: at rest, there is never both such a job and a
//!    free slot.
//! 5. A job that waits and has not started is cancelled once its expiry has passed: an expiry after a duration by the
//!    time that has passed, an expiry at a time by the wall clock.
//! 6. After a crash, the jobs that are known to have run start again in any order. No job has to start as long as the
//!    engine reports that it recovers, and it must not report that forever.
//!
//! The second queue keeps an ended job until its age is [`KEPT`], and not for much longer. An age is time that has
//! passed, whatever the wall clock is set to; it also grows while the file is closed, as far as that can be known.
//!
//! An attempt frees its slot before its end is committed, so a job that became ready because of an end
//! within the present step (`fresh`) may be passed over by others in that step.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millpond::State;

use crate::ops::{Answer, Expires, ONCE, QUEUES, Spec, When};

/// The number of attempts of every worker in the test, and the delay between them.
pub const ATTEMPTS: u32 = 3;
pub const BACKOFF: u64 = 5_000;
/// How long the second queue keeps an ended job.
pub const KEPT: u64 = 3_600_000;
/// A wall clock that shows an earlier time than the start of 2020 has not been set.
const CLOCKS_SET_FROM: u64 = 1_577_836_800_000;
/// The shortest time for which a handler's answer delays a job or holds a queue back.
const SNOOZE_MIN: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    Wall,
    Engine,
    Age,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub line: Line,
    pub at: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub wall: u64,
    pub engine: u64,
    pub age: u64,
    /// The latest time of the wall clock plus the time that has passed since: how far the age has counted.
    pub counted: u64,
    pub mono: u64,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub queue: usize,
    pub group: Option<usize>,
    pub priority: u8,
    pub state: State,
    pub attempts: u32,
    pub max: Option<u32>,
    pub errors: usize,
    due: Option<Due>,
    expires: Option<Due>,
    /// An attempt of this job has failed, was snoozed, or ran when the process died.
    begun: bool,
    /// Its place in its group's order.
    seq: u64,
    /// Not in its group's order until it is due, where groups skip.
    parked: bool,
    /// The ticket of a ready head.
    ticket: Option<u64>,
    fresh: bool,
    running: Option<Run>,
    /// When it ended, by the age.
    ended: u64,
    crashes: u32,
    key: Option<usize>,
}

/// The job that holds a unique key, and until when it holds the key even if it has ended.
#[derive(Clone, Copy, Debug)]
struct Holder {
    id: u64,
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    attempt: u32,
    since: u64,
    /// The job ran at an earlier death, started when nothing else ran, and nothing has started since.
    alone: bool,
}

#[derive(Clone, Debug, Default)]
struct Group {
    paused: bool,
    head: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    skips: bool,
    paused: bool,
    slots: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// By the monotonic clock of this process.
    until: u64,
    /// By the age: the form in which the file stores it.
    stored: u64,
}

/// One call of a handler.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub id: u64,
    pub attempt: u32,
    pub max: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub enqueued: u64,
    pub completed: u64,
    pub dead: u64,
    pub cancelled: u64,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: Now,
    pub jobs: BTreeMap<u64, Job>,
    pub rows: BTreeSet<u64>,
    pub totals: [Totals; QUEUES],
    /// Jobs that a handler has enqueued and whose ids are not known yet.
    pub awaited: Vec<Spec>,
    pub last_id: u64,
    groups: HashMap<(usize, usize), Group>,
    queues: [Queue; QUEUES],
    holds: HashMap<(usize, Option<usize>), Hold>,
    keys: HashMap<(usize, usize), Holder>,
    next_ticket: u64,
    /// The ticket of every job that becomes a ready head because of an end within the present step: the
    /// order in which several ends are committed is not determined.
    shared_ticket: Option<u64>,
    next_seq: u64,
    max_running: usize,
    suspects: BTreeSet<u64>,
    /// The process before this one died.
    pub after_crash: bool,
    /// The jobs that wait because the engine recovers, according to the engine, and for how long.
    recovering: BTreeMap<u64, u64>,
}

pub type Check = Result<(), String>;

impl Model {
    pub fn new(wall: u64, max_running: usize) -> Self {
        let mut queues: [Queue; QUEUES] = Default::default();
        queues[1].skips = true;
        Self {
            now: Now { wall, engine: wall, age: 0, counted: wall, mono: 0 },
            jobs: BTreeMap::new(),
            rows: BTreeSet::new(),
            totals: Default::default(),
            awaited: Vec::new(),
            last_id: 0,
            groups: HashMap::new(),
            queues,
            holds: HashMap::new(),
            keys: HashMap::new(),
            next_ticket: 1,
            shared_ticket: None,
            next_seq: 0,
            max_running,
            suspects: BTreeSet::new(),
            after_crash: false,
            recovering: BTreeMap::new(),
        }
    }

    // --- time ---------------------------------------------------------------------------------

    pub fn advance(&mut self, millis: u64) {
        self.now.wall += millis;
        self.now.mono += millis;
        self.now.engine += millis;
        self.now.age += millis;
        self.now.counted += millis;
        self.follow_the_wall_clock();
    }

    pub fn set_wall(&mut self, wall: u64) {
        self.now.wall = wall;
        self.follow_the_wall_clock();
    }

    /// The engine's time follows the wall clock forward, and never goes back.
    fn follow_the_wall_clock(&mut self) {
        if self.now.wall > self.now.engine + 1_000 {
            self.now.engine = self.now.wall;
        }
        self.now.counted = self.now.counted.max(self.now.wall);
    }

    /// The file was closed for `down` milliseconds, and then the wall clock shows `wall`.
    fn was_away(&mut self, down: u64, wall: u64) {
        let is_set = |wall| wall >= CLOCKS_SET_FROM;
        let last = self.now.wall;
        // It is unknown how much time lies between a clock that has been set and one that has not.
        let passed = if is_set(last) == is_set(wall) { wall.saturating_sub(last) } else { 0 };
        self.now.engine = (self.now.engine + passed).max(wall);
        if is_set(wall) && is_set(self.now.counted) {
            self.now.age += wall.saturating_sub(self.now.counted);
        }
        self.now.counted = self.now.counted.max(wall);
        self.now.wall = wall;
        self.now.mono += down;
    }

    fn is_due(&self, due: Due) -> bool {
        due.at <= self.on(due.line)
    }

    fn on(&self, line: Line) -> u64 {
        match line {
            Line::Wall => self.now.wall,
            Line::Engine => self.now.engine,
            Line::Age => self.now.age,
        }
    }

    fn waits(&self, id: u64) -> bool {
        self.jobs[&id].due.is_some_and(|due| !self.is_due(due))
    }

    // --- producing ----------------------------------------------------------------------------

    /// The stored job whose id answers this enqueue, if its unique key is held.
    pub fn there_already(&self, spec: &Spec) -> Option<u64> {
        let holder = self.keys.get(&(spec.queue, spec.key?.0))?;
        let waits = self.jobs.get(&holder.id).is_some_and(|job| !job.state.is_final());
        (self.now.age < holder.until || waits).then_some(holder.id)
    }

    /// A job with this id was acknowledged.
    pub fn insert(&mut self, id: u64, spec: &Spec) -> Check {
        if let Some(there) = self.there_already(spec) {
            return if id == there { Ok(()) } else { Err(format!("the answer is id {id}, and {there} has its key")) };
        }
        if id <= self.last_id {
            return Err(format!("the answer is id {id}, after {}", self.last_id));
        }
        self.last_id = id;
        let due = match spec.when {
            When::Now | When::Delay(0) => None,
            When::Delay(delay) => Some(Due { line: Line::Engine, at: self.now.engine + delay }),
            When::At(offset) => {
                let at = self.now.wall.saturating_add_signed(offset);
                (at > self.now.wall).then_some(Due { line: Line::Wall, at })
            }
        };
        let expires = spec.expires.map(|expires| match expires {
            Expires::In(after) => Due { line: Line::Age, at: self.now.age + after },
            Expires::At(after) => Due { line: Line::Wall, at: self.now.wall + after },
        });
        self.totals[spec.queue].enqueued += 1;
        let seq = self.fresh_seq();
        self.jobs.insert(
            id,
            Job {
                queue: spec.queue,
                group: spec.group,
                priority: spec.priority,
                state: if due.is_some() { State::Scheduled } else { State::Pending },
                attempts: 0,
                max: spec.max,
                errors: 0,
                due,
                expires,
                begun: false,
                seq,
                parked: false,
                ticket: None,
                fresh: false,
                running: None,
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
    pub fn insert_by_an_end(&mut self, id: u64, spec: &Spec) -> Check {
        self.insert(id, spec)?;
        self.job(id).fresh = true;
        Ok(())
    }

    /// The job may have become visible after other jobs that calls of the same step stored.
    pub fn came_later(&mut self, id: u64) {
        self.job(id).fresh = true;
    }

    fn fresh_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    // --- groups -------------------------------------------------------------------------------

    fn key(&self, id: u64) -> Option<(usize, usize)> {
        let job = &self.jobs[&id];
        job.group.map(|group| (job.queue, group))
    }

    fn group(&mut self, key: (usize, usize)) -> &mut Group {
        self.groups.entry(key).or_default()
    }

    fn job(&mut self, id: u64) -> &mut Job {
        self.jobs.get_mut(&id).expect("the model knows it")
    }

    fn join(&mut self, id: u64) {
        let Some(key) = self.key(id) else { return };
        if self.queues[key.0].skips && self.waits(id) {
            self.job(id).parked = true;
        } else if self.group(key).head.is_none() {
            self.set_head(key, id);
        }
    }

    fn set_head(&mut self, key: (usize, usize), id: u64) {
        let waits = self.waits(id);
        let group = self.group(key);
        group.head = Some(id);
        let ready = !group.paused && !waits;
        let ticket = ready.then(|| {
            self.shared_ticket.unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            })
        });
        let job = self.job(id);
        job.ticket = ticket;
        if ready {
            job.state = State::Pending;
        }
    }

    fn advance_group(&mut self, key: (usize, usize)) {
        let in_order = |job: &&u64| {
            let job = &self.jobs[job];
            job.group == Some(key.1) && job.queue == key.0 && !job.parked && !job.state.is_final()
        };
        let first = self.jobs.keys().filter(in_order).min_by_key(|id| self.jobs[id].seq).copied();
        self.group(key).head = None;
        if let Some(first) = first {
            self.set_head(key, first);
            self.job(first).fresh = true;
        }
    }

    fn is_head(&self, id: u64) -> bool {
        self.key(id).and_then(|key| self.groups.get(&key)).is_some_and(|group| group.head == Some(id))
    }

    fn end(&mut self, id: u64, state: State) {
        let now = self.now.age;
        let was_head = self.is_head(id);
        let job = self.job(id);
        job.state = state;
        (job.running, job.ticket, job.parked, job.ended) = (None, None, false, now);
        let totals = &mut self.totals[self.jobs[&id].queue];
        match state {
            State::Dead => totals.dead += 1,
            State::Cancelled => totals.cancelled += 1,
            _ => totals.completed += 1,
        }
        self.no_longer_suspected(id);
        if was_head {
            let key = self.key(id).expect("it was a head");
            self.advance_group(key);
        }
    }

    fn no_longer_suspected(&mut self, id: u64) {
        self.suspects.remove(&id);
    }

    fn promote(&mut self) {
        let mut due: Vec<(Line, u64, u64)> = self
            .jobs
            .iter()
            .filter(|(_, job)| !job.state.is_final() && job.running.is_none() && job.ticket.is_none())
            .filter_map(|(&id, job)| Some((job.due?, id)))
            .filter(|(due, _)| self.is_due(*due))
            .map(|(due, id)| (due.line, due.at, id))
            .collect();
        due.sort_unstable();
        for (_, _, id) in due {
            let Some(key) = self.key(id) else {
                self.job(id).state = State::Pending;
                continue;
            };
            if self.jobs[&id].parked {
                let job = self.job(id);
                (job.parked, job.state) = (false, State::Pending);
                if self.group(key).head.is_none() {
                    self.set_head(key, id);
                }
            } else if self.is_head(id) && !self.group(key).paused {
                self.set_head(key, id);
            }
        }
    }

    // --- steering -----------------------------------------------------------------------------

    pub fn start_worker(&mut self, queue: usize, slots: usize) {
        self.queues[queue].slots = Some(slots);
    }

    pub fn stop_worker(&mut self, queue: usize) {
        self.queues[queue].slots = None;
    }

    pub fn has_worker(&self, queue: usize) -> bool {
        self.queues[queue].slots.is_some()
    }

    pub fn set_max_running(&mut self, jobs: usize) {
        self.max_running = jobs;
    }

    pub fn max_running(&self) -> usize {
        self.max_running
    }

    /// Whether the call changed anything.
    pub fn pause_queue(&mut self, queue: usize, pause: bool) -> bool {
        std::mem::replace(&mut self.queues[queue].paused, pause) != pause
    }

    pub fn pause_group(&mut self, key: (usize, usize), pause: bool) -> bool {
        if std::mem::replace(&mut self.group(key).paused, pause) == pause {
            return false;
        }
        if let Some(head) = self.group(key).head
            && self.jobs[&head].running.is_none()
        {
            self.suspects.remove(&head);
            self.set_head(key, head);
        }
        true
    }

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

    fn free_key(&mut self, id: u64) {
        self.keys.retain(|_, holder| holder.id != id);
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
            (true, true) => self.advance_group(key),
            (true, false) => self.set_head(key, id),
            (false, false) if self.group(key).head.is_none() => self.set_head(key, id),
            (false, _) => {}
        }
    }

    /// True if it is a dead letter.
    pub fn redrive(&mut self, id: u64) -> bool {
        if self.jobs.get(&id).is_none_or(|job| job.state != State::Dead) {
            return false;
        }
        let seq = self.fresh_seq();
        self.regain_key(id);
        let job = self.job(id);
        job.state = State::Pending;
        (job.attempts, job.crashes, job.due, job.expires, job.seq) = (0, 0, None, None, seq);
        self.join(id);
        true
    }

    /// Gives the job its unique key back, unless another job holds it.
    fn regain_key(&mut self, id: u64) {
        let Job { queue, key: Some(key), .. } = self.jobs[&id] else { return };
        let asked = Spec { queue, key: Some((key, 0)), ..Spec::PLAIN };
        if self.there_already(&asked).is_none() {
            self.keys.insert((queue, key), Holder { id, until: self.now.age });
        }
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
            self.jobs.remove(&id);
            self.free_key(id);
        }
        dead
    }

    // --- ending -------------------------------------------------------------------------------

    pub fn running(&self) -> BTreeSet<u64> {
        self.jobs.iter().filter(|(_, job)| job.running.is_some()).map(|(&id, _)| id).collect()
    }

    fn limit(&self, id: u64) -> u32 {
        match self.jobs[&id].max {
            Some(ONCE) => 1,
            max => max.unwrap_or(ATTEMPTS),
        }
    }

    fn runs_once(&self, id: u64) -> bool {
        self.jobs[&id].max == Some(ONCE)
    }

    pub fn answered(&mut self, id: u64, answer: Answer) {
        let run = self.jobs[&id].running.expect("only a running job is answered");
        self.share_tickets();
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
            Answer::RateLimited(delay) => {
                let delay = delay.max(SNOOZE_MIN);
                let job = &self.jobs[&id];
                let new = Hold { until: self.now.mono + delay, stored: self.now.age + delay };
                let until = new.until;
                let hold = self.holds.entry((job.queue, job.group)).or_insert(new);
                if until >= hold.until {
                    *hold = new;
                }
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

    /// Every job that is due becomes ready, once that is committed.
    pub fn promote_as_fresh(&mut self) {
        let before: BTreeSet<u64> = self.ready().collect();
        self.promote();
        let now_ready: Vec<u64> = self.ready().filter(|id| !before.contains(id)).collect();
        for id in now_ready {
            self.job(id).fresh = true;
        }
    }

    fn share_tickets(&mut self) {
        if self.shared_ticket.is_none() {
            self.next_ticket += 1;
            self.shared_ticket = Some(self.next_ticket);
        }
    }

    fn ready(&self) -> impl Iterator<Item = u64> {
        self.jobs.iter().filter(|(_, job)| is_ready(job)).map(|(&id, _)| id)
    }

    fn done(&mut self, id: u64, attempt: u32) {
        self.job(id).attempts = attempt;
        self.end(id, State::Completed);
    }

    fn failed(&mut self, id: u64, attempt: u32, delay: u64) {
        let limit = self.limit(id);
        let job = self.job(id);
        job.attempts = attempt;
        job.errors += 1;
        job.begun = true;
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
            self.advance_group(key);
        } else {
            self.set_head(key, id);
            self.job(id).fresh = true;
        }
    }

    /// The job uses no attempt and keeps its place.
    fn return_to_its_place(&mut self, id: u64) {
        self.no_longer_suspected(id);
        let paused = self.key(id).is_some_and(|key| self.group(key).paused);
        let job = self.job(id);
        job.running = None;
        job.fresh = true;
        if paused {
            job.ticket = None;
        }
    }

    // --- closing and opening ------------------------------------------------------------------

    /// The queue was shut down or dropped: running jobs go back and use no attempt.
    pub fn closed(&mut self, down: u64, wall: u64) {
        for hold in self.holds.values_mut() {
            hold.stored = self.now.age + hold.until.saturating_sub(self.now.mono);
        }
        for id in self.running() {
            match self.runs_once(id) {
                true => self.cut_short(id),
                false => self.return_to_its_place(id),
            }
        }
        self.opened(down, wall);
    }

    /// The only attempt of this job was interrupted.
    fn cut_short(&mut self, id: u64) {
        let job = self.job(id);
        job.attempts = job.running.expect("it runs").attempt;
        job.errors += 1;
        self.end(id, State::Dead);
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
        if let Some(id) = unknown.iter().find(|id| self.runs_once(**id)) {
            return Err(format!("job {id} ran, is to run at most once, and the file does not show it"));
        }
        let blamed = self.blamed(&known);
        unknown.into_iter().for_each(|id| self.return_to_its_place(id));
        for &id in &known {
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

    // --- dispatch -----------------------------------------------------------------------------

    /// Called before each step: no job is fresh any more.
    pub fn rest(&mut self) {
        self.shared_ticket = None;
        for job in self.jobs.values_mut() {
            job.fresh = false;
        }
    }

    /// Ends the jobs that wait, have not started and have expired.
    pub fn expire(&mut self) {
        let expired = |job: &Job| {
            let passed = job.expires.is_some_and(|due| self.is_due(due));
            passed && !job.begun && job.running.is_none() && !job.state.is_final()
        };
        let expired: Vec<u64> = self.jobs.iter().filter(|(_, job)| expired(job)).map(|(id, _)| *id).collect();
        for id in expired {
            self.share_tickets();
            self.end(id, State::Cancelled);
        }
    }

    fn may_be_pruned(&self, job: &Job, after: u64) -> bool {
        job.queue == 1 && job.state.is_final() && self.now.age >= job.ended + KEPT + after
    }

    /// `there` are the jobs that exist: retention may have removed others if they are old enough.
    pub fn pruned(&mut self, there: &BTreeSet<u64>) {
        let gone = |(id, job): &(&u64, &Job)| !there.contains(id) && self.may_be_pruned(job, 0);
        let gone: BTreeSet<u64> = self.jobs.iter().filter(gone).map(|(id, _)| *id).collect();
        self.jobs.retain(|id, _| !gone.contains(id));
    }

    /// A job that retention should have removed at least `ago` milliseconds ago.
    pub fn kept_for_too_long(&self, ago: u64) -> Option<u64> {
        self.jobs.iter().find(|(_, job)| self.may_be_pruned(job, ago)).map(|(id, _)| *id)
    }

    /// Checks the starts of one step against the rules. `torn` says that jobs without a group and heads may have become
    /// visible at different times.
    pub fn dispatched(&mut self, starts: &[Start], torn: bool) -> Check {
        let mut left: BTreeMap<u64, Start> = BTreeMap::new();
        for start in starts {
            if left.insert(start.id, *start).is_some() {
                return Err(format!("job {} was started twice in one step", start.id));
            }
        }
        while let Some(id) = self.next_legal(&left, torn) {
            let start = left.remove(&id).expect("it was chosen from these");
            self.start(start)?;
        }
        if let Some(start) = left.values().next() {
            let legal: Vec<u64> = (0..QUEUES).flat_map(|queue| self.candidates(queue, torn)).collect();
            let job = self.jobs.get(&start.id);
            let others: Vec<_> = legal.iter().map(|id| &self.jobs[id]).collect();
            let suspects = (&self.suspects, self.running(), self.now.mono);
            return Err(format!("{start:?} is not legal: it is {job:?}; suspects {suspects:?}; legal were {others:?}"));
        }
        self.must_start_nothing_more()
    }

    fn next_legal(&self, left: &BTreeMap<u64, Start>, torn: bool) -> Option<u64> {
        let mut legal: Vec<u64> = (0..QUEUES).flat_map(|queue| self.candidates(queue, torn)).collect();
        legal.sort_by_key(|id| (self.jobs[id].fresh, self.jobs[id].priority));
        legal.into_iter().find(|id| left.contains_key(id))
    }

    fn start(&mut self, start: Start) -> Check {
        let Start { id, attempt, max } = start;
        let job = &self.jobs[&id];
        if attempt != job.attempts + 1 || max != self.limit(id) {
            return Err(format!("{start:?}: its attempt should be {} of {}", job.attempts + 1, self.limit(id)));
        }
        let nothing_beside = self.running().is_empty();
        for job in self.jobs.values_mut() {
            if let Some(run) = &mut job.running {
                run.alone = false;
            }
        }
        self.suspects.remove(&id);
        let since = self.now.mono;
        let alone = nothing_beside && self.jobs[&id].crashes > 0;
        self.job(id).running = Some(Run { attempt, since, alone });
        Ok(())
    }

    fn running_in(&self, queue: usize) -> usize {
        self.jobs.values().filter(|job| job.queue == queue && job.running.is_some()).count()
    }

    fn is_held(&self, key: (usize, Option<usize>)) -> bool {
        self.holds.get(&key).is_some_and(|hold| hold.until > self.now.mono)
    }

    fn is_open(&self, queue: usize) -> bool {
        let Queue { paused, slots, .. } = &self.queues[queue];
        !paused
            && slots.is_some_and(|slots| self.running_in(queue) < slots)
            && self.running().len() < self.max_running
            && !self.is_held((queue, None))
    }

    /// The suspects of a queue that could start.
    fn startable_suspects(&self, queue: usize) -> impl Iterator<Item = u64> {
        let startable = move |id: &&u64| self.jobs[id].queue == queue && !self.is_group_held(**id);
        self.suspects.iter().filter(startable).copied()
    }

    fn is_group_held(&self, id: u64) -> bool {
        let job = &self.jobs[&id];
        job.group.is_some() && self.is_held((job.queue, job.group))
    }

    /// The jobs of a queue that may start next.
    fn candidates(&self, queue: usize, torn: bool) -> Vec<u64> {
        if !self.is_open(queue) {
            return Vec::new();
        }
        let ready: Vec<u64> = self
            .ready()
            .filter(|id| self.jobs[id].queue == queue && !self.suspects.contains(id))
            .filter(|id| !self.is_group_held(*id))
            .collect();
        let goes_before = |a: u64, b: u64| {
            let (x, y) = (&self.jobs[&a], &self.jobs[&b]);
            let same_list = x.group.is_some() == y.group.is_some();
            if torn && !same_list {
                return false;
            }
            let earlier = match (x.ticket, y.ticket) {
                (Some(x), Some(y)) => x < y,
                _ => a < b,
            };
            x.priority < y.priority || same_list && x.priority == y.priority && earlier
        };
        let is_next = |&id: &u64| {
            let mut others = ready.iter().filter(|&&other| other != id && !self.jobs[&other].fresh);
            others.all(|&other| !goes_before(other, id))
        };
        self.startable_suspects(queue).chain(ready.iter().copied().filter(is_next)).collect()
    }

    /// The jobs that wait because the engine recovers, and for how many milliseconds, according to the engine.
    pub fn recovers(&mut self, recovering: BTreeMap<u64, u64>) {
        self.recovering = recovering;
    }

    /// The jobs for which the engine is allowed to report that they wait because it recovers.
    pub fn may_recover(&self) -> Vec<u64> {
        let waits = |job: &Job| !job.state.is_final() && job.running.is_none();
        let waiting = self.jobs.iter().filter(|(_, job)| self.after_crash && waits(job));
        waiting.map(|(id, _)| *id).collect()
    }

    fn must_start_nothing_more(&self) -> Check {
        for queue in 0..QUEUES {
            if let Some(id) = self.candidates(queue, false).iter().find(|id| !self.recovering.contains_key(id)) {
                return Err(format!("job {id} could start and does not: {:?}", self.jobs[id]));
            }
        }
        Ok(())
    }

    /// When something next happens without an operation, for a test that waits for it.
    pub fn next_event(&self) -> Option<u64> {
        let due = |job: &Job| {
            let due = job.due.filter(|_| !job.state.is_final() && job.running.is_none())?;
            due.at.checked_sub(self.on(due.line)).filter(|wait| *wait > 0)
        };
        let dues = self.jobs.values().filter_map(due);
        let holds = self.holds.values().filter_map(|hold| hold.until.checked_sub(self.now.mono)).filter(|w| *w > 0);
        let trials = self.recovering.values().copied();
        dues.chain(holds).chain(trials).min()
    }
}

fn is_ready(job: &Job) -> bool {
    job.state == State::Pending && job.running.is_none() && (job.group.is_none() || job.ticket.is_some())
}

/// The row that a completed job leaves.
pub fn hook_row(id: u64) -> u64 {
    1_000_000 + id
}

impl Job {
    /// As the engine shows it.
    pub fn shown(&self) -> (State, u32) {
        match self.running {
            Some(run) => (State::Running, run.attempt),
            None => (self.state, self.attempts),
        }
    }
}
