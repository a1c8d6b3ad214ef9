//! Jobs with unique keys: which keys a world has, the calls that enqueue such jobs, and their handler. `oracle.rs` has the
//! invariants.
//!
//! A job that is replaced has the payload of another call from then on, so these jobs are in a queue of their own, and are not
//! compared by the numbers of their calls like the others.

mod oracle;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::{
    Context, EnqueueStatus, Enqueued, Event, GroupPolicy, Handled, Job, JobId, JobInfo, Keep, NewJob, Outcome,
    QueueSettings, Retention, Retry, Unique,
};
use millpond_testkit::{ON_PURPOSE, one_of};

use crate::calls::Asks;
use crate::event_queue::queue_of;
use crate::handlers::{Stage, Timers};
use crate::oracle::Check;
use crate::plan::Plan;
use crate::world::World;
use oracle::{Asked, Known};

/// The queue of these jobs, and their kind.
pub const UNIQUE: &str = "unique";

/// No job has used up so many attempts by the end of a run.
const ATTEMPTS: u32 = 1_000;

/// For how long a key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Until the end, and at least for so many milliseconds.
    UntilEnded(u64),
    UntilStarted,
    /// Like `UntilStarted`, and the jobs with the key run one after another.
    InTurn,
    /// For so many milliseconds.
    Window(u64),
}

/// A key, and how each job with it holds it.
#[derive(Clone, Copy, Debug)]
struct Key {
    holds: Holds,
    replaces: bool,
    /// The milliseconds that must be quiet, and the most after the first enqueue.
    debounces: Option<(u64, u64)>,
}

impl Key {
    fn random(rng: &mut Rng) -> Self {
        let keeps = |holds| Self { holds, replaces: false, debounces: None };
        let replaces = |holds| Self { holds, replaces: true, debounces: None };
        let debounces = |rng: &mut Rng, holds| {
            let quiet = one_of(rng, &[50, 1_000, 20_000]);
            Self { debounces: Some((quiet, quiet * rng.u64(1..4))), ..replaces(holds) }
        };
        match rng.u8(..12) {
            0 => keeps(Holds::UntilEnded(0)),
            1 => keeps(Holds::UntilEnded(one_of(rng, &[1_000, 300_000]))),
            2 => replaces(Holds::UntilEnded(0)),
            3 => debounces(rng, Holds::UntilEnded(0)),
            4..=5 => keeps(Holds::UntilStarted),
            6 => replaces(Holds::UntilStarted),
            7 => debounces(rng, Holds::UntilStarted),
            8 => keeps(Holds::Window(one_of(rng, &[1_000, 60_000]))),
            _ => replaces(Holds::InTurn),
        }
    }

    fn mode(&self) -> Unique {
        let millis = Duration::from_millis;
        let mode = match self.holds {
            Holds::UntilEnded(_) => Unique::until_ended(),
            Holds::UntilStarted => Unique::until_started(),
            Holds::InTurn => Unique::keep_latest(),
            Holds::Window(window) => Unique::throttle(millis(window)),
        };
        match self.debounces {
            Some((quiet, at_most)) => mode.debounce(millis(quiet), millis(at_most)),
            None if self.replaces => mode.replace(),
            None => mode,
        }
    }
}

/// Something that a handler did.
#[derive(Clone, Copy, Debug)]
enum Note {
    Start { id: u64, n: u64 },
    End { id: u64, completes: bool },
}

/// The jobs with unique keys of a world.
pub struct Uniques {
    keys: Vec<Key>,
    concurrency: usize,
    backoff: u64,
    policy: GroupPolicy,
    /// Decides what handlers do.
    acts: Arc<Mutex<Rng>>,
    /// Of its own, so that a seed's world is otherwise the same with and without these jobs.
    rng: Rng,
    notes: Arc<Mutex<Vec<Note>>>,
    asked: BTreeMap<u64, Asked>,
    known: Known,
}

impl Uniques {
    /// Half of the worlds have such jobs.
    pub fn random(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x756E_6971_7565);
        let any = rng.bool() && !plan.bulk && !plan.poison;
        let keys = if any { rng.usize(1..5) } else { 0 };
        Self {
            keys: (0..keys).map(|_| Key::random(&mut rng)).collect(),
            concurrency: rng.usize(1..4),
            backoff: one_of(&mut rng, &[0, 1_000, 20_000]),
            policy: one_of(&mut rng, &[GroupPolicy::Block, GroupPolicy::Block, GroupPolicy::Skip]),
            acts: Arc::new(Mutex::new(rng.fork())),
            rng,
            notes: Arc::default(),
            asked: BTreeMap::new(),
            known: Known::default(),
        }
    }

    fn any(&self) -> bool {
        !self.keys.is_empty()
    }
}

/// The number of an answer's status.
fn status_of(answer: Enqueued) -> u64 {
    match answer.status {
        EnqueueStatus::Stored => STORED,
        EnqueueStatus::Replaced => REPLACED,
        _ => DUPLICATE,
    }
}

const STORED: u64 = 0;
const REPLACED: u64 = 1;
const DUPLICATE: u64 = 2;

fn key_name(key: usize) -> String {
    format!("k{key}")
}

/// Whether it is a job with a unique key.
pub fn is_unique(info: &JobInfo) -> bool {
    info.queue == UNIQUE
}

/// Whether an event is about the queue of these jobs.
pub fn is_of_uniques(event: &Event) -> bool {
    queue_of(event) == Some(UNIQUE)
}

/// Notes how a run ended, also if it is dropped.
struct Guard {
    notes: Arc<Mutex<Vec<Note>>>,
    id: u64,
    completes: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let note = Note::End { id: self.id, completes: self.completes };
        self.notes.lock().unwrap_or_else(|e| e.into_inner()).push(note);
    }
}

/// What the handler needs of its world.
#[derive(Clone)]
struct Scene {
    stage: Arc<Mutex<Stage>>,
    timers: Arc<Timers>,
    notes: Arc<Mutex<Vec<Note>>>,
    rng: Arc<Mutex<Rng>>,
}

async fn handle(scene: Scene, job: Job<Bytes>, _: Context) -> Handled<Outcome> {
    let (id, n) = (job.id().get(), u64::from_le_bytes(job[..8].try_into().expect("the simulation made it")));
    scene.notes.lock().unwrap().push(Note::Start { id, n });
    let mut guard = Guard { notes: scene.notes.clone(), id, completes: false };
    let mut rng = scene.rng.lock().unwrap().fork();
    let is_calm = scene.stage.lock().unwrap().calm;
    let wait = if is_calm { 0 } else { one_of(&mut rng, &[0, 0, 1, 20, 300, 2_000, 7_000, 40_000]) };
    if wait > 0 {
        scene.timers.sleep(Duration::from_millis(wait)).await;
    }
    match rng.u8(..8) {
        _ if is_calm => {}
        0 => return Err(ON_PURPOSE.into()),
        1 => return Ok(Outcome::snooze(Duration::from_millis(one_of(&mut rng, &[1, 1_000])))),
        2 => return Ok(Outcome::retry_after(ON_PURPOSE, Duration::from_millis(one_of(&mut rng, &[0, 5_000])))),
        _ => {}
    }
    guard.completes = true;
    Ok(Outcome::done())
}

impl World {
    /// Sets the queue of these jobs up.
    pub fn set_up_uniques(&mut self) -> Check {
        if !self.uniques.any() {
            return Ok(());
        }
        let retention = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER).dead(Keep::FOREVER);
        let settings = QueueSettings::default().retention(retention).groups(self.uniques.policy);
        let configured = self.now().pond.queue(UNIQUE).unwrap().configure(settings);
        self.done(configured)?;
        self.start_unique_worker();
        self.note(|world| format!("keys: {:?}", world.uniques.keys));
        Ok(())
    }

    /// Starts the worker of these jobs.
    pub fn start_unique_worker(&mut self) {
        if !self.uniques.any() {
            return;
        }
        let Uniques { concurrency, backoff, .. } = self.uniques;
        let (stage, timers, notes) = (self.stage.clone(), self.timers.clone(), self.uniques.notes.clone());
        let scene = Scene { stage, timers, notes, rng: self.uniques.acts.clone() };
        let retry = Retry::fixed(Duration::from_millis(backoff)).jitter(0.0).max_attempts(ATTEMPTS);
        let worker = self.now().pond.worker(UNIQUE).concurrency(concurrency).retry(retry);
        let worker = worker.timeout(Duration::from_secs(30));
        let worker = worker.handle_raw(UNIQUE, move |job: Job<Bytes>, ctx: Context| handle(scene.clone(), job, ctx));
        // It works as long as the queue is open, and is refused only if the disk fails.
        let _ = worker.start();
    }

    /// Enqueues a job with a key now and then, or cancels one.
    pub fn ask_for_uniques(&mut self) {
        if !self.uniques.any() || self.uniques.rng.u8(..3) > 0 {
            return;
        }
        if self.uniques.rng.u8(..8) == 0 {
            return self.cancel_a_unique();
        }
        let key = self.uniques.rng.usize(..self.uniques.keys.len());
        let n = self.uniques.asks(key, &self.oracle);
        let plan = self.uniques.keys[key];
        let mut job = NewJob::raw(UNIQUE, n.to_le_bytes().to_vec()).unique(key_name(key), plan.mode());
        if let Holds::UntilEnded(at_least) = plan.holds
            && !plan.replaces
        {
            job = job.unique_for(Duration::from_millis(at_least));
        }
        let commit = self.now().pond.enqueue(UNIQUE, job);
        let future = async move { commit.await.map(|answer| vec![answer.id.get(), status_of(answer)]) };
        self.note(|_| format!("enqueue {n} with key {key}"));
        self.push(Asks::Unique(n), Box::pin(future));
    }

    fn cancel_a_unique(&mut self) {
        let open = self.uniques.open_ids();
        let Some(id) = self.uniques.rng.choice(open) else { return };
        self.uniques.steered(id);
        let commit = self.now().pond.cancel(JobId::new(id), ON_PURPOSE);
        self.ask_for_nothing(commit);
    }

    /// Checks the notes of what the handlers of these jobs did.
    pub fn notice_uniques(&mut self) -> Check {
        let notes = std::mem::take(&mut *self.uniques.notes.lock().unwrap());
        for note in notes {
            self.trace.note(format!("    unique {note:?}"));
            self.uniques.seen(note, &self.oracle)?;
        }
        Ok(())
    }
}
