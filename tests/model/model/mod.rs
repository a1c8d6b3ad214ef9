//! What the queue must do, written as simply as possible: lists and counters in memory, no file, no threads, no indexes.
//!
//! This file has the state of the model. Each file beside it has one rule, and says it at its head:
//!
//! | rule | file |
//! |---|---|
//! | 1. Of a group only the heads can be ready. | `groups` |
//! | 2. The more urgent priority starts first, and at equal priority the earlier job. | `order` |
//! | 3. Nothing starts without a free slot, a worker and an open rate, or while it is paused. | `slots` |
//! | 4. A ready job that no rule stops must start. | `work_conserving` |
//! | 5. A job that has not started by its expiry is cancelled. | `expiry` |
//! | 6. After a crash, the jobs that ran start again, and the one that is blamed ends. | `crashes` |
//! | An acknowledged job is stored once. | `enqueued` |
//! | A unique key that is held stores no second job. | `unique_keys` |
//! | A message goes to each queue and each stream with a matching binding, once. | `topics` |
//! | An acknowledged entry is in its stream, at its offset. | `streams` |
//! | A job is not due before its time, whatever happens to the wall clock. | `clocks` |
//! | Each answer of a handler has its documented consequence. | `attempts` |
//! | An operator's call changes a job that waits or is dead, and no other. | `steering` |
//! | An ended job is kept for the time that was asked for, and not much longer. | `retention` |
//!
//! An attempt frees its slot before its end is committed, so a job that became ready because of an end
//! within the present step (`fresh`) may be passed over by others in that step.

mod attempts;
mod clocks;
mod crashes;
mod enqueued;
mod expiry;
mod groups;
mod order;
mod retention;
mod slots;
mod steering;
mod streams;
mod topics;
mod unique_keys;
mod work_conserving;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use millpond::State;
use millpond_testkit::JobSpec;

use self::streams::Stream;
use crate::ops::{QUEUES, STREAMS};

/// The number of attempts of every worker in the test, and the delay between them.
pub const ATTEMPTS: u32 = 3;
pub const BACKOFF: u64 = 5_000;
/// The number of attempts by which the model knows a job that runs at most once.
const ONCE: u32 = 0;
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
    /// It was enqueued with a priority.
    pub is_tagged: bool,
    pub state: State,
    pub attempts: u32,
    pub max: Option<u32>,
    pub errors: usize,
    /// The attempts that are kept with what they have reported.
    pub logs: Vec<u32>,
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
    /// It was cancelled while it ran: it ends with its attempt.
    cancel_requested: bool,
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
    /// In the order of the group.
    heads: Vec<u64>,
    /// The dead letter that holds the group, and its place in it.
    held_by: Option<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    skips: bool,
    holds: bool,
    paused: bool,
    slots: Option<usize>,
    /// How many jobs of a group can run at a time.
    group_concurrency: usize,
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
    /// How often the hook for dead jobs has written for a job.
    deaths: HashMap<u64, u64>,
    /// Jobs that a handler or the hook for dead jobs has enqueued and whose ids are not known yet.
    pub awaited: Vec<JobSpec>,
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
    /// The destinations and patterns that are bound to the topic. `None` while there is no topic.
    bindings: Option<BTreeSet<(usize, usize)>>,
    /// `None` if the stream is not there.
    streams: [Option<Stream>; STREAMS],
    /// The process before this one died.
    pub after_crash: bool,
    /// The jobs that wait because the engine recovers, according to the engine, and for how long.
    recovering: BTreeMap<u64, u64>,
}

pub type Check = Result<(), String>;

impl Model {
    pub fn new(wall: u64, max_running: usize) -> Self {
        let mut queues: [Queue; QUEUES] = Default::default();
        queues[0].holds = true;
        queues[1].skips = true;
        for queue in &mut queues {
            queue.group_concurrency = 1;
        }
        Self {
            now: Now { wall, engine: wall, age: 0, counted: wall, mono: 0 },
            jobs: BTreeMap::new(),
            rows: BTreeSet::new(),
            totals: Default::default(),
            deaths: HashMap::new(),
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
            bindings: None,
            streams: Default::default(),
            after_crash: false,
            recovering: BTreeMap::new(),
        }
    }

    fn job(&mut self, id: u64) -> &mut Job {
        self.jobs.get_mut(&id).expect("the model knows it")
    }
}

fn is_ready(job: &Job) -> bool {
    job.state == State::Pending && job.running.is_none() && (job.group.is_none() || job.ticket.is_some())
}

/// The row that a completed job leaves.
pub fn hook_row(id: u64) -> u64 {
    1_000_000 + id
}

/// The row that the hook for dead jobs writes for each death of a job.
pub fn death_row(id: u64, death: u64) -> u64 {
    (1 << 40) + id * (1 << 10) + death
}

/// What the hook for dead jobs does after it has written its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Writes,
    /// It enqueues [`JobSpec::PLAIN`].
    Enqueues,
    Errs,
    Panics,
}

pub fn hook_of(id: u64) -> Hook {
    [Hook::Writes, Hook::Enqueues, Hook::Errs, Hook::Writes, Hook::Panics][(id % 5) as usize]
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
