//! The invariants. The oracle knows the calls, the answers, the events, and what the handlers did; each error begins
//! with the number of the invariant that was broken. This file has what the oracle knows, and each file beside it keeps
//! and checks the invariants that it names. A name with `.rs` is a file of the suite outside of this directory.
//!
//! | | invariant | file |
//! |---|---|---|
//! | I1 | an acknowledged job survives any crash | `answers`, `compare.rs`, `ends.rs` |
//! | I2 | all or nothing | `stored`, `compare.rs`, `kept.rs` |
//! | I3 | a refused job never runs | `answers`, `starts`, `stored`, `compare.rs` |
//! | I4 | a job is in one state, and the indexes agree | `calls.rs`, `compare.rs`, `kept.rs` |
//! | I5 | a job is durable before it starts | `starts` |
//! | I6 | everything ends | `ends.rs` |
//! | I7 | an ended job never starts again | `ended`, `starts`, `compare.rs`, `ends.rs`, `kept.rs` |
//! | I8 | the runs of a job do not overlap | `starts` |
//! | I9 | groups keep their order | `group_order`, `slots`, `starts`, `kept.rs` |
//! | I10 | slots | `slots`, `kept.rs`, `world.rs` |
//! | I11 | rates | `rates`, `slots` |
//! | I12 | nothing starts before it is due | `starts`, `world.rs` |
//! | I13 | order within a queue | `order` |
//! | I14 | a job is dead once | `ended` |
//! | I15 | operators' calls are legal | `ended`, `operators`, `pauses`, `slots`, `starts`, `compare.rs`, `guests.rs`, `kept.rs` |
//! | I16 | ids rise | `answers`, `events`, this file, `starts`, `stored` |
//! | I17 | attempts | `starts`, `compare.rs` |
//! | I18 | jobs that kill the process | `compare.rs`, `ends.rs`, `world.rs` |
//! | I19 | clocks, and no panic | `clocks`, `main.rs`, `ends.rs` |
//! | I20 | ages and expiries | `expiries`, `compare.rs`, `ends.rs` |
//! | I23 | every call is answered | `calls.rs`, `ends.rs` |
//! | I24 | faults are reported and heal | `faults`, `calls.rs`, `ends.rs` |
//! | I25 | payloads are known | `compare.rs` |
//! | I26 | a seed repeats | `main.rs` |
//! | I27 | each time of a schedule runs once | `schedules.rs` |
//! | I28 | what runs report is kept, and their events are in order | `reports.rs` |
//! | I29 | unique keys | `unique/oracle.rs` |
//! | I30 | circuits | `circuits` |
//! | I31 | verbs on many jobs | `selected`, `compare.rs`, `selections.rs` |
//! | I32 | names of queues | `renames.rs`, `compare.rs` |
//! | I33 | flows | `flows.rs` |
//! | I34 | steps | `flows.rs` |
//! | I35 | undone steps | `flows.rs` |
//! | I36 | messages of topics | `topics.rs` |
//! | I38 | jobs that a full queue drops | `dropped`, `compare.rs` |

mod answers;
mod circuits;
mod clocks;
mod dropped;
mod ended;
mod events;
mod expiries;
mod faults;
mod group_order;
mod limits;
mod operators;
mod order;
mod pauses;
mod put_back;
mod rates;
mod selected;
mod slots;
mod starts;
mod stored;

use std::collections::{BTreeMap, BTreeSet};

use millpond::{GroupPolicy, PluginHash, RunNumber, State};
use millpond_testkit::JobSpec;

use crate::guest_talk::GuestStart;
use crate::handlers::Act;
use crate::kept::{Deployed, Kept};
use crate::plan::Plan;
use circuits::Circuit;
pub use circuits::Key as CircuitKey;
pub use selected::{Found, Heard};

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
    /// When it was handed out, and when its handler returned; both unknown if its handler was not called.
    pub at: Option<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub spec: JobSpec,
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
    /// Its call had an idempotency key.
    pub is_keyed: bool,
    /// Its call is made again; what was known of the earlier ones.
    pub before_repeat: Option<Fate>,
    /// A call was answered that it is asked to stop.
    pub cancel_requested: bool,
    pub purged: bool,
    /// A verb that is under way is to delete it.
    pub deleting: bool,
    /// It was deleted.
    pub deleted: bool,
    /// It was dropped because its queue was full.
    pub dropped: bool,
    /// The queues to which verbs may have moved it, a bit each.
    pub moving: u32,
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
    /// An event has said that it is dead, and the event is due that the hook for dead jobs has failed.
    pub owes_failure: bool,
    /// The last run whose end an event has reported.
    pub run_ended: Option<u32>,
    /// The last attempt of which an event has said that it starts.
    pub heard_start: Option<u32>,
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

/// What is known of the pauses of a kind in a queue.
#[derive(Default)]
pub struct KindPauses {
    /// The calls that are not answered, and whether another call was made meanwhile: then it is not known which came first.
    pub calls: BTreeMap<u64, bool>,
    pub history: History<bool>,
}

/// The start mark of a run that lasts this many nanoseconds is written.
const MARK_AFTER: u64 = 10_000_000;

/// The values of a setting and when each was set, on the monotonic clock.
pub type History<T> = Vec<(u64, T)>;

/// The engine's own time, as closely as it can be known.
#[derive(Clone, Copy, Debug)]
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
    /// Pauses of the kinds of queues.
    pub paused_kinds: BTreeMap<(usize, usize), KindPauses>,
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
    pub group_policies: Vec<GroupPolicy>,
    /// Whether a dead letter holds the group.
    pub held_groups: BTreeMap<(usize, u8), History<bool>>,
    /// The dead letter that has just released its group.
    pub released: Option<u64>,
    pub drops: dropped::Drops,
    pub circuits: BTreeMap<CircuitKey, Circuit>,
    /// The circuits of which the last event has said that they are open, with the failures that it counts.
    pub opening: Vec<(CircuitKey, u32)>,
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
            paused_kinds: BTreeMap::new(),
            pausing: BTreeMap::new(),
            has_worker: vec![vec![(0, false)]; queues],
            holds: BTreeMap::new(),
            after_crash: false,
            held_before: BTreeSet::new(),
            rated: BTreeMap::new(),
            policy_changed: BTreeSet::new(),
            group_policies: plan.queues.iter().map(|queue| queue.group_policy).collect(),
            held_groups: BTreeMap::new(),
            released: None,
            drops: dropped::Drops::default(),
            circuits: BTreeMap::new(),
            opening: Vec::new(),
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

    pub fn running_ids(&self) -> Vec<u64> {
        self.ids_of(|job| job.running.is_some())
    }

    pub fn open_ids(&self) -> Vec<u64> {
        self.ids_of(|job| job.ended.is_none())
    }

    pub fn dead_ids(&self) -> Vec<u64> {
        self.ids_of(|job| job.ended == Some(State::Dead))
    }

    fn number(&self, id: u64) -> Result<u64, String> {
        self.by_id.get(&id).copied().ok_or(format!("I16: job {id} is unknown"))
    }
}
