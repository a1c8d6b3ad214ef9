//! The invariants. The oracle knows the calls, the answers, the events, and what the handlers did; each error begins
//! with the number of the invariant that was broken:
//!
//! I1 an acknowledged job survives any crash, I2 all or nothing, I3 a refused job never runs, I4 one state per job and
//! indexes that agree, I5 durable before it starts, I6 everything ends, I7 an ended job never starts again, I8 the runs of a
//! job do not overlap, I9 group order, I10 slots, I11 rates, I12 not before it is due, I13 order within a queue, I14 dead
//! once, I15 operators' calls are legal, I16 ids rise, I17 attempts, I18 jobs that kill, I19 clocks, I20 ages and expiries,
//! I23 every call is answered, I24 faults are reported and heal, I25 known payloads, I26 a seed repeats.

use std::collections::{BTreeMap, BTreeSet};

use millpond::{Error, Event, PluginHash, RunNumber, State};

use crate::guest_talk::GuestStart;
use crate::handlers::Act;
use crate::kept::{Deployed, Kept};
use crate::paths::took;
use crate::plan::{Expires, KEPT, Keeps, Plan, Spec, When};

pub type Check = Result<(), String>;

/// What has become of the call that stores a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Asked,
    Stored,
    Refused,
    /// The answer was that the outcome is unknown: the job was stored by then, or never will be.
    Open,
    /// The call was dropped: the job can still be stored.
    Adrift,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Call(u64),
    Parent { n: u64, run: u32 },
}

#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub run: u32,
    pub attempt: u32,
    pub taken: Option<u64>,
    /// When its handler began to run.
    pub called: u64,
    /// When its time is over: an answer after that does not count.
    pub deadline: Option<u64>,
    /// Its start mark is in the file.
    pub marked: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Ending {
    pub run: u32,
    pub act: Option<Act>,
    pub attempt: u32,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub spec: Spec,
    pub origin: Origin,
    pub fate: Fate,
    pub id: Option<u64>,
    /// Since when the job is durable, on the monotonic clock.
    pub since: Option<u64>,
    /// How the job has ended.
    pub ended: Option<State>,
    /// A run has ended, and it is not known whether its end is durable.
    pub ending: Option<Ending>,
    /// How its last run ended.
    pub last_act: Option<Act>,
    pub running: Option<Run>,
    pub attempts: u32,
    pub starts: u32,
    pub crashes: u32,
    /// The number of crashes in its record.
    pub crash_errors: usize,
    /// An operator's call has named it.
    pub steered: bool,
    pub purged: bool,
    /// Its place in its group's order.
    pub place: u64,
    pub redriven: bool,
    /// How often it was redriven; each time it gets all its attempts back.
    pub redrives: u32,
    /// It must not start before this, by the engine's time.
    pub not_before: Option<u64>,
    /// The latest time of the wall clock since it was made.
    pub wall_seen: u64,
    /// A job after it in the order was handed out then: so must it have been, if it starts in the same process.
    pub taken_by: Option<u64>,
    /// It ran when the process died, so it is allowed to be tried before others.
    pub suspect: bool,
    /// It was taken back at the stop, with so many attempts used.
    pub released: Option<u32>,
    /// Its handler was called, and has not asked to be called again.
    pub spent: bool,
    /// The number of its last run.
    pub number: Option<RunNumber>,
    /// The number of guests' follow-up jobs from which it descends.
    pub generation: u32,
    /// The guest that ran it last.
    pub guest: Option<GuestStart>,
    /// The number of follow-up jobs of that run.
    pub children: u32,
    /// The number of jobs that its plugin had completed when that run began.
    pub done_before: u64,
    /// When it was asked for, when it was reported as stored, and when its end was reported, by [`Oracle::age`]. A closure
    /// makes its jobs only when it runs.
    pub made_at: u64,
    pub stored_at: u64,
    pub ended_at: Option<u64>,
    /// An event has said that it is snoozed, or will be retried.
    pub put_back: bool,
    /// An attempt has ended without a log line of its guest, at this time of the engine.
    pub unseen: Option<u64>,
    /// And that end may have delayed the job.
    pub put_off: bool,
}

pub struct Tx {
    pub rows: Vec<u64>,
    pub jobs: Vec<u64>,
    pub fate: Fate,
}

/// A call to pause or to resume a queue or a group.
#[derive(Clone, Copy, Debug)]
pub struct Pausing {
    pub queue: usize,
    pub group: Option<u8>,
    pub paused: bool,
    /// The outcome is unknown: it may be in the file or not.
    pub unknown: bool,
}

/// The start mark of a run that lasts this many nanoseconds is written.
const MARK_AFTER: u64 = 10_000_000;

/// The values of a setting and when each was set, on the monotonic clock.
pub type History<T> = Vec<(u64, T)>;

/// The engine's own time, as closely as it can be known.
#[derive(Clone, Copy)]
pub struct Line {
    pub least: u64,
    pub most: u64,
}

pub struct Oracle {
    pub plan: Plan,
    pub jobs: BTreeMap<u64, Job>,
    pub by_id: BTreeMap<u64, u64>,
    pub txs: BTreeMap<u64, Tx>,
    pub last_id: u64,
    pub places: u64,
    pub mono: u64,
    pub wall: u64,
    pub line: Line,
    /// The most milliseconds that the engine's age can have counted.
    pub age: u64,
    /// That age when the file was opened.
    pub opened_at: u64,
    /// By how much the wall clock may have been set forward, less back, since the last commit.
    pub forward: u64,
    /// When a group's order last changed.
    pub moved: BTreeMap<(usize, u8), u64>,
    pub slots: Vec<History<usize>>,
    pub max_running: History<usize>,
    pub paused: Vec<History<bool>>,
    pub paused_groups: BTreeMap<(usize, u8), History<bool>>,
    /// The calls to pause or to resume whose commit has not been reported.
    pub pausing: BTreeMap<u64, Pausing>,
    pub has_worker: Vec<History<bool>>,
    pub holds: BTreeMap<(usize, Option<u8>), (u64, u64)>,
    /// The process before this one died: the first start marks are made durable before their handlers run.
    pub after_crash: bool,
    /// Held back in an earlier process: how much time a crash has forgotten, and how long the hold lasts now, is unknown.
    pub held_before: BTreeSet<(usize, Option<u8>)>,
    pub rated: BTreeMap<(usize, Option<u8>), Vec<u64>>,
    pub policy_changed: BTreeSet<usize>,
    pub skips: Vec<bool>,
    /// This world has had a fault or a power cut.
    pub harmed: bool,
    /// The last handle is dropped at a moment that cannot be observed: the running attempts are taken back then.
    pub abandoned: bool,
    /// The running attempts were told to give their jobs back.
    pub stops: bool,
    pub degraded_since: Option<u64>,
    pub saw_healed: bool,
    /// A job was reported that could not be read: the next comparison resolves it.
    pub blind: bool,
    pub kills: u32,
    /// The numbers of all runs.
    pub numbers: BTreeSet<RunNumber>,
    pub poisons: BTreeSet<u64>,
    /// By the kinds that plugins handle.
    pub kept: [Kept; 2],
    pub deployed: Vec<Deployed>,
    /// The hashes by which job records name the guests' versions.
    pub hashes: BTreeMap<u64, PluginHash>,
}

pub fn ever<T: Copy>(history: &History<T>, at: u64) -> impl Iterator<Item = T> + '_ {
    let before = history.iter().rev().find(|(since, _)| *since < at);
    before.into_iter().chain(history.iter().filter(move |(since, _)| *since == at)).map(|(_, value)| *value)
}

impl Oracle {
    pub fn new(plan: &Plan, wall: u64) -> Self {
        let queues = plan.queues.len();
        Self {
            plan: plan.clone(),
            jobs: BTreeMap::new(),
            by_id: BTreeMap::new(),
            txs: BTreeMap::new(),
            last_id: 0,
            places: 0,
            mono: 0,
            wall,
            line: Line { least: wall, most: wall },
            age: 0,
            opened_at: 0,
            forward: 0,
            moved: BTreeMap::new(),
            slots: plan.queues.iter().map(|queue| vec![(0, queue.concurrency)]).collect(),
            max_running: vec![(0, plan.max_running)],
            paused: vec![vec![(0, false)]; queues],
            paused_groups: BTreeMap::new(),
            pausing: BTreeMap::new(),
            has_worker: vec![vec![(0, false)]; queues],
            holds: BTreeMap::new(),
            after_crash: false,
            held_before: BTreeSet::new(),
            rated: BTreeMap::new(),
            policy_changed: BTreeSet::new(),
            skips: plan.queues.iter().map(|queue| queue.skips).collect(),
            harmed: false,
            abandoned: false,
            stops: false,
            degraded_since: None,
            saw_healed: false,
            blind: false,
            kills: 0,
            numbers: BTreeSet::new(),
            poisons: BTreeSet::new(),
            kept: Default::default(),
            deployed: Vec::new(),
            hashes: BTreeMap::new(),
        }
    }

    pub fn job(&mut self, n: u64) -> &mut Job {
        self.jobs.get_mut(&n).expect("the oracle made it")
    }

    // --- time ---------------------------------------------------------------------------------

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

    // --- calls --------------------------------------------------------------------------------

    pub fn asked(&mut self, call: u64, specs: &[Spec]) {
        for spec in specs {
            self.make(spec, Origin::Call(call));
        }
    }

    pub fn asked_tx(&mut self, call: u64, specs: &[Spec], rows: &[u64]) {
        self.asked(call, specs);
        let jobs = specs.iter().map(|spec| spec.n).collect();
        self.txs.insert(call, Tx { rows: rows.to_vec(), jobs, fate: Fate::Asked });
    }

    pub fn make(&mut self, spec: &Spec, origin: Origin) {
        let mut spec = spec.clone();
        if let When::In(offset) = spec.when {
            spec.when = When::At(self.wall.saturating_add_signed(offset));
        }
        if let Some(Expires::Ahead(offset)) = spec.expires {
            spec.expires = Some(Expires::At(self.wall.saturating_add_signed(offset)));
        }
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
            purged: false,
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
        };
        self.jobs.insert(job.spec.n, job);
    }

    /// The ids that calls can name.
    pub fn known_ids(&self) -> Vec<u64> {
        self.by_id.keys().copied().collect()
    }

    pub fn by_id(&self, id: u64) -> Option<&Job> {
        self.jobs.get(self.by_id.get(&id)?)
    }

    fn ids_of(&self, wanted: impl Fn(&Job) -> bool) -> Vec<u64> {
        self.by_id.iter().filter(|(_, n)| wanted(&self.jobs[n])).map(|(id, _)| *id).collect()
    }

    pub fn open_ids(&self) -> Vec<u64> {
        self.ids_of(|job| job.ended.is_none())
    }

    pub fn dead_ids(&self) -> Vec<u64> {
        self.ids_of(|job| job.ended == Some(State::Dead))
    }

    /// The number of deaths at which a job that kills is dead at the latest, counted anew for each redrive. The first death
    /// can happen before its start mark is written, and a job that was never tried alone is blamed at the third known
    /// death.
    pub fn deaths_max(&self, n: u64) -> u32 {
        self.jobs.get(&n).map_or(0, |job| (self.limit(job) + 2).max(4) * (1 + job.redrives))
    }

    /// A call to cancel was answered.
    pub fn cancelled(&self, id: u64, done: bool) -> Check {
        match self.by_id(id) {
            Some(job) if job.ended != Some(State::Cancelled) && !self.blind => {
                Err(format!("I15: the call to cancel it was answered with {done}: {job:?}"))
            }
            _ => Ok(()),
        }
    }

    pub fn steered(&mut self, id: u64, purged: bool) {
        if let Some(n) = self.by_id.get(&id).copied() {
            let job = self.job(n);
            job.steered = true;
            job.purged |= purged;
            job.taken_by = None;
        }
    }

    fn resolve(&mut self, call: u64, fate: Fate) -> Check {
        let mine: Vec<u64> =
            self.jobs.iter().filter(|(_, job)| job.origin == Origin::Call(call)).map(|(n, _)| *n).collect();
        let blind = self.blind;
        for n in mine {
            let job = self.job(n);
            match fate {
                Fate::Refused if job.since.is_some() => {
                    return Err(format!("I3: the call for job {n} was refused, and it is stored: {job:?}"));
                }
                Fate::Stored if job.since.is_none() && !blind => {
                    return Err(format!("I1: job {n} was acknowledged, and no event has reported its commit: {job:?}"));
                }
                Fate::Open if job.since.is_some() => {
                    took("OutcomeUnknown, and it was durable");
                    job.fate = Fate::Stored;
                }
                _ => job.fate = fate,
            }
        }
        if let Some(tx) = self.txs.get_mut(&call) {
            tx.fate = fate;
        }
        Ok(())
    }

    /// A call that stores jobs was answered.
    pub fn answered(&mut self, call: u64, answer: &Result<Vec<u64>, Error>) -> Check {
        match answer {
            Ok(ids) => {
                let mine: Vec<u64> =
                    self.jobs.iter().filter(|(_, job)| job.origin == Origin::Call(call)).map(|(n, _)| *n).collect();
                if mine.len() != ids.len() {
                    return Err(format!("I1: {} jobs were acknowledged with {} ids", mine.len(), ids.len()));
                }
                for (n, id) in mine.iter().zip(ids) {
                    match self.jobs[n].id {
                        Some(known) if known != *id => {
                            return Err(format!("I16: job {n} was reported as {known} and answered as {id}"));
                        }
                        None if self.blind => self.learned(*n, *id)?,
                        _ => {}
                    }
                }
                self.resolve(call, Fate::Stored)
            }
            Err(error) => {
                self.legal_error(error)?;
                match error {
                    Error::OutcomeUnknown { .. } => self.resolve(call, Fate::Open),
                    _ => self.resolve(call, Fate::Refused),
                }
            }
        }
    }

    /// Whether this error is a legal answer in this world.
    pub fn legal_error(&self, error: &Error) -> Check {
        let of_the_disk = matches!(
            error,
            Error::OutcomeUnknown { .. } | Error::Degraded { .. } | Error::StorageFull | Error::Storage { .. }
        );
        match error {
            _ if of_the_disk && self.harmed => Ok(()),
            Error::QueueFull { .. } | Error::Aborted { .. } | Error::NotAllowed { .. } | Error::NoSuchJob { .. } => {
                Ok(())
            }
            Error::Closed | Error::RateLimited { .. } | Error::NoWorker { .. } | Error::InvalidConfig { .. } => Ok(()),
            other => Err(format!("I24: nothing happened to the disk: {other:?}")),
        }
    }

    /// The call was dropped; `asked` tells whether it had been polled.
    pub fn abandoned(&mut self, call: u64, asked: bool) -> Check {
        if !asked {
            self.pausing.remove(&call);
        }
        self.resolve_unless_answered(call, if asked { Fate::Adrift } else { Fate::Refused })
    }

    fn resolve_unless_answered(&mut self, call: u64, fate: Fate) -> Check {
        let asked = |job: &&Job| job.origin == Origin::Call(call) && job.fate == Fate::Asked;
        let open =
            self.jobs.values().any(|job| asked(&job)) || self.txs.get(&call).is_some_and(|tx| tx.fate == Fate::Asked);
        if open { self.resolve(call, fate) } else { Ok(()) }
    }

    // --- openings -----------------------------------------------------------------------------

    /// Everything that needs no time is done: the start mark of a run that has lasted for a while is in the file.
    pub fn rested(&mut self) {
        let mono = self.mono;
        for run in self.jobs.values_mut().filter_map(|job| job.running.as_mut()) {
            run.marked |= run.called + MARK_AFTER <= mono;
        }
        // The file knows that the clock was set.
        self.forward = 0;
    }

    /// At rest, no job waits that has not started and has certainly expired.
    pub fn no_job_outlives_its_expiry(&self) -> Check {
        let outlives = |job: &&Job| {
            let expired = match job.spec.expires {
                // While the file is open all time counts.
                Some(Expires::In(after)) => self.age - job.stored_at.max(self.opened_at) >= after,
                Some(Expires::At(at)) => self.wall >= at,
                _ => false,
            };
            let waits = job.since.is_some() && job.ended.is_none() && job.running.is_none() && job.ending.is_none();
            expired && waits && (job.starts, job.attempts, job.crash_errors) == (0, 0, 0) && !job.put_off
        };
        match self.jobs.values().find(outlives) {
            Some(job) if !self.blind => Err(format!("I20: a job waits after its expiry, at age {}: {job:?}", self.age)),
            _ => Ok(()),
        }
    }

    /// An event has said that the job has expired.
    fn expired(&self, id: u64) -> Check {
        let Some(job) = self.by_id(id) else { return Ok(()) };
        let passed = match job.spec.expires {
            Some(Expires::In(after)) => self.age - job.made_at >= after,
            Some(Expires::At(at)) => job.wall_seen >= at,
            _ => false,
        };
        if !passed {
            return Err(format!("I20: a job expires early, at age {} and wall clock {}: {job:?}", self.age, self.wall));
        }
        if job.ending.is_some() || job.attempts > 0 || job.put_back || job.crash_errors > 0 {
            return Err(format!("I20: the job has started, and expires: {job:?}"));
        }
        if matches!(job.spec.expires, Some(Expires::At(_))) {
            took("a job expired by the wall clock");
        }
        took("a waiting job expired");
        Ok(())
    }

    /// A job that ended a short time ago is kept, whatever the wall clock shows.
    pub fn too_young_to_go(&self, job: &Job) -> bool {
        // A commit can take minutes on a slow disk.
        let margin = 600_000;
        let kept = self.plan.queues[job.spec.queue].keeps == Keeps::Young;
        kept && job.ended_at.is_some_and(|ended| self.age - ended < KEPT.as_millis() as u64 - margin)
    }

    /// The running attempts were told to give their jobs back: they use no attempt.
    pub fn taken_back(&mut self) {
        self.stops = true;
        for job in self.jobs.values_mut() {
            job.released = job.running.map(|run| run.attempt - 1);
        }
    }

    /// It became known without an event that a job is stored.
    pub fn learned(&mut self, n: u64, id: u64) -> Check {
        self.last_id = self.last_id.max(id);
        self.stored(n, id)
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
        (self.abandoned, self.stops) = (false, false);
        for queue in 0..self.plan.queues.len() {
            self.set_has_worker(queue, false);
        }
        self.set_max_running(self.plan.max_running);
    }

    // --- settings -----------------------------------------------------------------------------

    pub fn set_slots(&mut self, queue: usize, slots: usize) {
        let running = self.jobs.values().filter(|job| job.running.is_some() && job.spec.queue == queue).count();
        if running > slots {
            took("concurrency was lowered below what ran");
        }
        self.slots[queue].push((self.mono, slots));
    }

    pub fn set_max_running(&mut self, jobs: usize) {
        self.max_running.push((self.mono, jobs));
    }

    pub fn set_has_worker(&mut self, queue: usize, has_worker: bool) {
        self.has_worker[queue].push((self.mono, has_worker));
        for job in self.jobs.values_mut().filter(|job| job.spec.queue == queue) {
            job.taken_by = None;
        }
    }

    pub fn policy_flipped(&mut self, queue: usize) {
        self.policy_changed.insert(queue);
        self.skips[queue] = !self.skips[queue];
    }

    // --- events -------------------------------------------------------------------------------

    /// `read` returns a job's number by its id.
    pub fn told(&mut self, event: &Event, read: impl Fn(u64) -> Option<u64>) -> Check {
        let of_a_job = !matches!(
            event,
            Event::Degraded { .. }
                | Event::Healed
                | Event::Paused { .. }
                | Event::Resumed { .. }
                | Event::Enqueued { .. }
                | Event::PluginSuspended { .. }
        );
        if self.blind && of_a_job {
            return Ok(());
        }
        match event {
            Event::Enqueued { id, .. } => {
                let id = id.get();
                if id <= self.last_id {
                    return Err(format!("I16: id {id} comes after {}", self.last_id));
                }
                self.last_id = id;
                match read(id) {
                    Some(n) => self.stored(n, id)?,
                    None => self.blind = true,
                }
            }
            Event::Completed { id, .. } => {
                self.ended(id.get(), State::Completed)?;
                self.kept_by(self.number(id.get())?);
            }
            Event::Dead { id, error, .. } => {
                let n = self.number(id.get())?;
                // An attempt's time can be over before its guest logs a line.
                if self.is_guest(&self.jobs[&n])
                    && error.as_ref().is_some_and(|error| error.contains("longer than its timeout"))
                {
                    let job = self.job(n);
                    job.ending.get_or_insert(Ending { run: job.starts, act: None, attempt: job.attempts + 1 });
                }
                self.ended(id.get(), State::Dead)?;
            }
            Event::Cancelled { id, reason, .. } => {
                if reason == "expired" {
                    self.expired(id.get())?;
                }
                self.ended(id.get(), State::Cancelled)?;
            }
            Event::Retrying { id, attempt, .. } => {
                let n = self.number(id.get())?;
                let (age, wall) = (self.age, self.wall);
                let job = self.job(n);
                let passed = match job.spec.expires {
                    Some(Expires::In(after)) => age - job.made_at >= after,
                    Some(Expires::At(at)) => wall >= at,
                    _ => false,
                };
                if passed {
                    took("a job whose expiry had passed was retried");
                }
                job.put_back = true;
                if let Some(Act::HookErrs | Act::HookPanics) = job.ending.and_then(|ending| ending.act) {
                    took("the writes with a completion failed");
                }
                (job.ending, job.taken_by) = (None, None);
                // It may have been tried without a start: its time was over before its handler was polled.
                job.suspect = false;
                job.attempts = *attempt;
                self.line_moved(n);
            }
            Event::Snoozed { id, .. } => {
                let n = self.number(id.get())?;
                let job = self.job(n);
                job.put_back = true;
                if job.ending.take().is_none()
                    && let Some(at) = job.unseen
                {
                    took("a job was delayed because its plugin was suspended");
                    job.not_before = Some(at + 60_000);
                }
                self.line_moved(n);
                took("a snooze");
            }
            Event::Redriven { id, .. } => {
                let n = self.number(id.get())?;
                let place = self.place(self.last_id);
                let job = self.job(n);
                if job.ended != Some(State::Dead) {
                    return Err(format!("I14: a job was redriven that was not dead: {job:?}"));
                }
                (job.ended, job.attempts, job.place, job.redriven) = (None, 0, place, true);
                job.redrives += 1;
                job.spent = false;
                job.crashes = 0;
                job.spec.expires = None;
                job.ended_at = None;
            }
            Event::Paused { queue, group, .. } => self.paused(queue, group.as_deref(), true),
            Event::Resumed { queue, group, .. } => self.paused(queue, group.as_deref(), false),
            Event::Degraded { .. } => {
                if !self.harmed {
                    return Err("I24: the queue is degraded, and nothing happened to the disk".into());
                }
                self.degraded_since = Some(self.mono);
                for job in self.jobs.values_mut() {
                    job.taken_by = None;
                }
            }
            Event::PluginSuspended { .. } => self.out_of_service(event)?,
            Event::Healed => {
                took("it healed");
                let since = self.degraded_since.take().ok_or("I24: the queue healed without having been degraded")?;
                if self.mono - since > 60_000_000_000 {
                    took("it was degraded for more than a minute");
                }
                self.saw_healed = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// A call asks for it. If the disk fails or the power is cut, it can be durable without an event.
    pub fn may_be_paused(&mut self, call: u64, pausing: Pausing) {
        if let Some(group) = pausing.group {
            self.paused_groups.entry((pausing.queue, group)).or_insert_with(|| vec![(0, false)]);
        }
        self.pausing.insert(call, pausing);
    }

    pub fn pause_answered(&mut self, call: u64, error: Option<&Error>) {
        match (error, self.pausing.get_mut(&call)) {
            (Some(Error::OutcomeUnknown { .. }), Some(pausing)) => pausing.unknown = true,
            _ => drop(self.pausing.remove(&call)),
        }
    }

    /// The file was opened again, and tells which queues are paused: as the events said, or as a call asked whose outcome
    /// was not reported. It does not tell which groups are, so a group in doubt may be either.
    pub fn paused_by_the_file(&mut self, queues: &[bool], all_gone: bool) -> Check {
        for (queue, paused) in queues.iter().copied().enumerate() {
            let known = self.paused[queue].last().is_some_and(|(_, paused)| *paused);
            let is_it = |asked: &Pausing| (asked.queue, asked.group, asked.paused) == (queue, None, paused);
            if known == paused {
                continue;
            }
            if !self.pausing.values().any(is_it) {
                return Err(format!("I15: queue {queue} is paused by the events: {known}; by the file: {paused}"));
            }
            took("a pause or its end with OutcomeUnknown was durable");
            self.paused[queue].push((self.mono, paused));
        }
        let mono = self.mono;
        for Pausing { queue, group, .. } in self.pausing.values() {
            if let Some(group) = group {
                self.paused_groups.entry((*queue, *group)).or_default().push((mono, false));
            }
        }
        self.pausing.retain(|_, pausing| !all_gone && !pausing.unknown);
        Ok(())
    }

    fn paused(&mut self, queue: &str, group: Option<&str>, paused: bool) {
        let queue: usize = queue[1..].parse().expect("a name that the simulation made");
        match group {
            None => self.paused[queue].push((self.mono, paused)),
            Some(group) => {
                let key = (queue, group[1..].parse().expect("a name that the simulation made"));
                self.paused_groups.entry(key).or_insert_with(|| vec![(0, false)]).push((self.mono, paused));
            }
        }
    }

    pub fn line_moved(&mut self, n: u64) {
        let job = &self.jobs[&n];
        if let Some(group) = job.spec.group {
            self.moved.insert((job.spec.queue, group), self.mono);
        }
    }

    fn number(&self, id: u64) -> Result<u64, String> {
        self.by_id.get(&id).copied().ok_or(format!("I16: job {id} is unknown"))
    }

    /// The members of a group are in the order of their ids, even if it becomes known late that a commit with an unknown
    /// outcome was durable. A redriven job comes after all ids up to then.
    fn place(&mut self, id: u64) -> u64 {
        self.places += 1;
        (id << 32) + self.places
    }

    /// The job is durable.
    fn stored(&mut self, n: u64, id: u64) -> Check {
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

    /// The job's end is durable.
    fn ended(&mut self, id: u64, state: State) -> Check {
        let n = self.number(id)?;
        let (age, stops) = (self.age, self.stops);
        let job = self.job(n);
        if let Some(before) = job.ended {
            let law = if state == State::Dead { "I14" } else { "I7" };
            return Err(format!("{law}: the job has ended as {before:?} and now as {state:?}: {job:?}"));
        }
        let legal = match (state, job.ending) {
            (State::Completed, Some(Ending { act: Some(act), .. })) => act.completes(),
            (State::Completed, _) => false,
            (_, Some(_)) => true,
            // Cancelled by an operator or expired; dead by a crash.
            (State::Cancelled, None) => job.steered || job.spec.expires.is_some(),
            // A guest may have been called without having logged a line yet.
            (State::Dead, None) if job.spec.once && (job.released.is_some() || stops && cfg!(feature = "wasm")) => {
                took("a stop interrupted the only run of a job");
                job.running = None;
                job.crash_errors += 1;
                true
            }
            _ => false,
        };
        if !legal {
            return Err(format!("I15: the job has no reason to end as {state:?}: {job:?}"));
        }
        if job.running.is_some() {
            return Err(format!("I15: the job has ended as {state:?} while its handler ran: {job:?}"));
        }
        (job.ended, job.ending, job.ended_at) = (Some(state), None, Some(age));
        self.line_moved(n);
        Ok(())
    }
}
