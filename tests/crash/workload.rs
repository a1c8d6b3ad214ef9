//! The random workload of a queue: calls, handlers, time, reopening and crashes, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{
    BoxError, CancelOutcome, Capacity, Clock, Context, Enqueued, Error, Event, Events, Every, FlowJob, GroupPolicy,
    Handled, Job, JobFilter, JobId, JobPatch, Keep, Millpond, Misfire, NewJob, OnFailure, Outcome, Overlap, Overrides,
    Pace, Priority, QueueSettings, Rate, Retention, Retry, Schedule, Timestamp, Transaction, WhenFull, Worker,
};
use millpond_testkit::{Expires, JobSpec, ON_PURPOSE, SimDisk, When};
use redb::{ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::engine::{DOOMED, Engine, GROUPS, KIND, QUEUES, SCHEDULED, is_kept};
use crate::made::with_options;
use crate::observations::{Asked, COMPLETED, Call, DROPPED, Observation, Observations, Refusal, Run, Waiting};
use crate::raw;

/// The application's rows: how often each was written.
pub const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
/// The rows that handlers write in the transaction that completes their job, by job.
pub const DONE: TableDefinition<u64, u64> = TableDefinition::new("done");
/// The rows that the hook for dead jobs writes, by job.
pub const DEAD: TableDefinition<u64, u64> = TableDefinition::new("dead");
/// The rows that steps of handlers write, by job.
pub const STEPPED: TableDefinition<u64, u64> = TableDefinition::new("stepped");
/// The rows of handlers, after a crash.
pub const DRAINED: TableDefinition<u64, u64> = TableDefinition::new("drained");

/// One is at times of the wall clock, the other one at intervals.
const SCHEDULES: [&str; 2] = ["aligned", "interval"];

const ATTEMPTS: u32 = 3;
/// More commits than it takes to remove a queue.
const CHUNKS_MAX: usize = 100;
const SECOND: Duration = Duration::from_secs(1);
/// The hours after which no job waits any more.
pub const HOURS_MAX: usize = 72;
const HOUR: Duration = Duration::from_secs(3_600);

/// A handler's answer.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Done,
    DoneWithRow,
    DoneWithJob,
    DoneWithResult,
    HookErrs,
    HookPanics,
    Fail,
    RetryAfter,
    Snooze,
    RateLimited,
    Cancel,
    DeadLetter,
    Panic,
}

const ANSWERS: [Answer; 20] = [
    Answer::Done,
    Answer::Done,
    Answer::Done,
    Answer::Done,
    Answer::DoneWithRow,
    Answer::DoneWithRow,
    Answer::DoneWithRow,
    Answer::DoneWithJob,
    Answer::DoneWithJob,
    Answer::DoneWithResult,
    Answer::HookErrs,
    Answer::HookPanics,
    Answer::Fail,
    Answer::Fail,
    Answer::RetryAfter,
    Answer::Snooze,
    Answer::RateLimited,
    Answer::Cancel,
    Answer::DeadLetter,
    Answer::Panic,
];

/// What the handlers share: which jobs wait until they are told to continue.
#[derive(Default)]
struct Stage {
    /// Whether every handler completes its job from now on.
    completes_only: AtomicBool,
    waiting: Mutex<BTreeSet<u64>>,
    tell: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// Makes the job. A transaction's closure that runs more than once makes it more than once.
fn make(spec: &JobSpec) -> NewJob {
    let job = NewJob::raw(KIND, payload(spec.n, spec.padding));
    // Its times do not depend on the wall clock any more.
    let job = with_options(job, spec, Timestamp::from_millis(0), |group| GROUPS[usize::from(group)].to_owned());
    let job = if spec.key.is_some() { job.unique_key(format!("key-{}", spec.n)) } else { job };
    if spec.n.is_multiple_of(7) { job.idempotency_key(format!("call-{}", spec.n)) } else { job }
}

fn priority(digit: u8) -> Priority {
    Priority::new(digit).expect("a digit")
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.as_millis())
}

pub struct Workload {
    /// `None` only while the queue is opened again.
    engine: Option<Engine>,
    pub observations: Observations,
    clock: ManualClock,
    disk: SimDisk,
    rng: Rng,
    seed: u64,
    next_tag: u64,
    stage: Arc<Stage>,
    workers: [Option<Worker>; QUEUES.len()],
    calls: Vec<Waiting>,
    /// The disk is allowed to fail: every call has to be answered at once, and the queue has to heal without being reopened.
    disk_fails: bool,
    /// Jobs that were dropped from a full queue.
    drops: Events,
}

/// The events of jobs that were dropped.
fn drops_of(engine: &Engine) -> Events {
    engine.pond.events_where(|event| matches!(event, Event::Cancelled { reason, .. } if reason.starts_with("dropped")))
}

/// Adds one to a row: a row that was written twice shows it.
pub fn count_up(tx: &Transaction<'_>, table: TableDefinition<'_, u64, u64>, row: u64) -> Result<(), BoxError> {
    let mut table = tx.open_table(table)?;
    let before = table.get(row)?.map_or(0, |count| count.value());
    table.insert(row, before + 1)?;
    Ok(())
}

pub fn payload(tag: u64, len: usize) -> Bytes {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.resize(len.max(8), tag as u8);
    bytes.into()
}

pub fn tag_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"))
}

impl Workload {
    pub fn open(seed: u64, disk: &SimDisk, clock: &ManualClock, next_tag: u64) -> Result<Self, Error> {
        let engine = Engine::open(disk, clock)?;
        Ok(Self {
            drops: drops_of(&engine),
            engine: Some(engine),
            observations: Observations::default(),
            clock: clock.clone(),
            disk: disk.clone(),
            rng: Rng::with_seed(seed),
            seed,
            next_tag,
            stage: Arc::default(),
            workers: Default::default(),
            calls: Vec::new(),
            disk_fails: false,
        })
    }

    /// The same, on a disk that is allowed to fail.
    pub fn on_failing(mut self) -> Self {
        self.disk_fails = true;
        self
    }
}

impl Workload {
    /// Sets the queues up, and runs some steps.
    pub fn run(&mut self, steps: usize) {
        self.observations.observe(&self.disk, Observation::Opened);
        self.set_up();
        self.go_on_with(steps);
    }

    pub fn go_on_with(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
            self.run_until_quiet();
        }
    }

    pub fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("it is open")
    }

    pub fn pond(&self) -> &Millpond {
        &self.engine.as_ref().expect("it is open").pond
    }

    pub fn next_tag(&self) -> u64 {
        self.next_tag
    }

    /// Polls the calls and runs the engine until it does nothing more without a call or the passing of time.
    fn run_until_quiet(&mut self) {
        poll_all(&mut self.calls);
        self.engine().run_until_quiet();
        while let Some(Ok(Event::Cancelled { id, .. })) = self.drops.try_next() {
            self.observations.release(id.get(), DROPPED);
        }
        poll_all(&mut self.calls);
        if self.disk_fails && !self.is_degraded() {
            // A call is allowed to wait for room in a full queue.
        } else if self.disk_fails {
            let unanswered: Vec<_> = self.calls.iter().map(|call| self.observations.asked(call.call())).collect();
            assert!(unanswered.is_empty(), "not answered: {unanswered:?}");
        } else {
            let read = self.pond().begin_read().expect("memory");
            self.observations.observe(&self.disk, Observation::Saw(raw::sum(&read).expect("memory")));
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.clock.advance(time);
        self.run_until_quiet();
    }

    pub fn is_degraded(&self) -> bool {
        self.pond().degraded().is_some()
    }

    /// Runs all jobs to their end. Returns false if one does not end.
    pub fn drain(&mut self) -> bool {
        self.stage.completes_only.store(true, Ordering::SeqCst);
        for (number, name) in QUEUES.into_iter().enumerate() {
            let queue = self.pond().queue(name).expect("a good name");
            let resumed = queue.resume();
            self.call(asked("resume"), async move { resumed.await.map(|_| Vec::new()) });
            // Twice: a group can be paused, and held by a dead letter.
            for group in GROUPS.into_iter().chain(GROUPS) {
                let resumed = queue.resume_group(group);
                self.call(asked("resume"), async move { resumed.await.map(|_| Vec::new()) });
            }
            if self.workers[number].is_none() {
                self.start_worker(number);
            }
        }
        for name in DOOMED {
            let queue = self.pond().queue(name).expect("a good name");
            self.obliterate(queue);
            // It takes several commits.
            for _ in 0..CHUNKS_MAX {
                self.run_until_quiet();
            }
        }
        for _ in 0..HOURS_MAX {
            self.let_all_handlers_continue();
            self.wait(HOUR);
            let others = self.pond().queues().into_iter().filter(|queue| !is_kept(queue.name()));
            if others.into_iter().all(|queue| queue.counts().unfinished() == 0) {
                return true;
            }
        }
        false
    }

    fn let_all_handlers_continue(&mut self) {
        self.stage.waiting.lock().unwrap().clear();
        for (_, tell) in std::mem::take(&mut *self.stage.tell.lock().unwrap()) {
            let _ = tell.send(());
        }
    }

    fn set_up(&mut self) {
        let keep = Retention::default();
        let settings = [
            QueueSettings::default().retention(keep.cancelled(Keep::NOTHING)),
            QueueSettings::default()
                .groups(GroupPolicy::Skip)
                .group_concurrency(2)
                .retention(keep.completed(Keep::new(HOUR, 5)).dead(Keep::new(HOUR, 5))),
            QueueSettings::default().groups(GroupPolicy::Hold).group_concurrency(3),
            QueueSettings::default().capacity(Capacity::jobs(6)).when_full(match self.disk_fails {
                true => WhenFull::Refuse,
                false if self.seed.is_multiple_of(2) => WhenFull::DropOldest,
                false => WhenFull::Wait,
            }),
        ];
        for (name, settings) in QUEUES.into_iter().zip(settings) {
            let queue = self.pond().queue(name).expect("a good name");
            self.call(asked("configure"), async move { queue.configure(settings).await.map(|()| Vec::new()) });
        }
        self.transaction(1, 0);
        for name in SCHEDULES {
            self.schedule(name);
        }
        self.bind_copies();
        self.run_until_quiet();
        for queue in 0..QUEUES.len() {
            self.start_worker(queue);
        }
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    pub fn call(
        &mut self,
        asked: Asked,
        answer: impl Future<Output = Result<Vec<Enqueued>, Error>> + Send + 'static,
    ) -> Call {
        self.call_for_ids(asked, async move { Ok(answer.await?.into_iter().map(|enqueued| enqueued.id).collect()) })
    }

    fn call_for_ids(
        &mut self,
        asked: Asked,
        answer: impl Future<Output = Result<Vec<JobId>, Error>> + Send + 'static,
    ) -> Call {
        let call = self.observations.ask(asked);
        self.calls.push(Waiting::new(call, &self.observations, &self.disk, Box::pin(answer)));
        call
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..18 => self.enqueue(),
            18..22 => self.enqueue_many(),
            22..24 => self.flow(),
            24..26 => self.bulk(),
            26 => self.publish_or_bind(),
            27 => self.guard(),
            28..30 => self.publish_or_bind(),
            30..38 => {
                let (rows, jobs) = (self.rng.usize(0..3), self.rng.usize(0..3));
                self.transaction(rows, jobs);
            }
            38..46 => {
                for _ in 0..self.rng.usize(2..6) {
                    match self.rng.u8(0..3) {
                        0 => self.enqueue(),
                        1 => self.enqueue_many(),
                        _ => self.transaction(1, 1),
                    }
                }
            }
            46..66 => self.go_on(),
            66..75 => self.advance(),
            75 => self.jump(),
            76..79 => self.pause(),
            79..82 => self.pause_group(),
            82..86 => self.cancel(),
            86..89 => self.update(),
            89..93 => self.redrive(),
            93..95 => self.purge(),
            95 => self.tokens(),
            96 => self.doom(),
            97 => self.create_or_delete_table(),
            98 if self.rng.bool() => {
                let name = SCHEDULES[self.rng.usize(0..SCHEDULES.len())];
                self.schedule(name);
            }
            98 => self.stop_or_start_worker(),
            _ if self.disk_fails => self.advance(),
            _ => self.reopen(),
        }
    }

    // --- producing ----------------------------------------------------------------------------

    pub fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    fn job(&mut self, tag: u64) -> JobSpec {
        let rng = &mut self.rng;
        let padding = if rng.u8(0..10) == 0 { rng.usize(1_000..6_000) } else { rng.usize(8..100) };
        let group = (rng.u8(0..3) == 0).then(|| rng.usize(0..GROUPS.len()) as u8);
        let priority = if rng.u8(0..4) == 0 { rng.u8(0..10) } else { 5 };
        let when = match rng.u8(0..10) {
            0 => When::Delay(rng.u64(1..20_000)),
            1 => When::In(5_000),
            _ => When::Now,
        };
        let runs = (rng.u8(0..5) == 0).then(|| rng.u32(0..3));
        let (once, max) = (runs == Some(0), runs.filter(|runs| *runs > 0));
        // Each key is the job's own.
        let key = (rng.u8(0..4) == 0).then_some((tag as usize, 0));
        let expires = match rng.u8(0..12) {
            0 => Some(Expires::In(rng.u64(1..20_000))),
            1 => Some(Expires::Ahead(5_000)),
            _ => None,
        };
        if expires.is_some() {
            self.observations.may_expire(tag);
        }
        let spec = JobSpec { n: tag, padding, group, priority, when, once, max, key, expires, ..JobSpec::PLAIN };
        spec.made_at(self.clock.wall().as_millis())
    }

    fn queue(&mut self) -> &'static str {
        QUEUES[self.rng.usize(0..QUEUES.len())]
    }

    fn enqueue(&mut self) {
        let (queue, tag) = (self.queue(), self.tag());
        let job = make(&self.job(tag));
        let answer = self.pond().enqueue(queue, job);
        self.call(Asked { tags: vec![tag], ..asked("enqueue") }, async move { answer.await.map(|id| vec![id]) });
    }

    fn enqueue_many(&mut self) {
        let jobs = self.rng.usize(2..8);
        let tags: Vec<u64> = (0..jobs).map(|_| self.tag()).collect();
        let jobs: Vec<_> = tags.iter().map(|&tag| (self.queue(), make(&self.job(tag)))).collect();
        let answer = self.pond().enqueue_all(jobs);
        self.call(Asked { tags, ..asked("enqueue_all") }, answer);
    }

    /// Enqueues so many bytes that the file grows.
    fn bulk(&mut self) {
        let tags: Vec<u64> = (0..60).map(|_| self.tag()).collect();
        let jobs: Vec<_> = tags.iter().map(|&tag| NewJob::raw(KIND, payload(tag, 4_000))).collect();
        let answer = self.pond().enqueue_many("plain", jobs);
        self.call(Asked { tags, ..asked("bulk") }, answer);
    }

    /// Makes a flow in which each job waits for some before it, and runs whatever becomes of them.
    fn flow(&mut self) {
        let tags: Vec<u64> = (0..self.rng.usize(2..6)).map(|_| self.tag()).collect();
        let (mut rng, name) = (self.rng.fork(), format!("flow-{}", tags[0]));
        let answer = self.pond().flow(&name, |flow| {
            let mut made: Vec<FlowJob> = Vec::new();
            for &tag in &tags {
                // A queue that is full refuses the flow.
                let job = NewJob::raw(KIND, payload(tag, rng.usize(8..100)));
                let job = flow.job(QUEUES[rng.usize(0..3)], job);
                let after = made.iter().filter(|_| rng.bool());
                made.push(after.fold(job, |job, before| job.after_or(before, OnFailure::Run)));
            }
        });
        self.call_for_ids(Asked { tags, ..asked("flow") }, async move { Ok(answer.await?.jobs) });
    }

    fn transaction(&mut self, rows: usize, jobs: usize) {
        let fate = self.rng.u8(0..6);
        let rows: Vec<u64> = (0..rows).map(|_| self.tag()).collect();
        let tags: Vec<u64> = (0..jobs).map(|_| self.tag()).collect();
        // Inside a transaction a full queue refuses; so leave out the one that is full.
        let jobs: Vec<_> = tags.iter().map(|&tag| (QUEUES[self.rng.usize(0..3)], self.job(tag))).collect();
        let written = rows.clone();
        let answer = self.pond().transaction(move |tx| {
            written.iter().try_for_each(|&row| count_up(tx, ROWS, row))?;
            let mut ids = Vec::new();
            for (queue, job) in &jobs {
                ids.push(tx.enqueue(queue, make(job))?);
            }
            match fate {
                0 => Err(ON_PURPOSE.into()),
                1 => panic!("{ON_PURPOSE}"),
                _ => Ok(ids),
            }
        });
        let what = ["transaction that errs", "transaction that panics", "transaction"][usize::from(fate.min(2))];
        self.call(Asked { tags, rows, fails: fate < 2, ..asked(what) }, answer);
    }

    /// A transaction that the caller commits itself, or drops.
    fn guard(&mut self) {
        let (row, tag) = (self.tag(), self.tag());
        let job = self.job(tag);
        let commits = self.rng.u8(0..4) > 0;
        let call = self.observations.ask(Asked { tags: vec![tag], rows: vec![row], fails: !commits, ..asked("guard") });
        let disk = self.disk.clone();
        let (at, answer) = self.engine().while_writing(move |pond| {
            let write = || -> Result<Vec<u64>, Refusal> {
                let mut guard = pond.begin_write()?;
                guard.open_table(ROWS)?.insert(row, 1).map_err(redb::TableError::from)?;
                let id = guard.enqueue("plain", make(&job))?;
                if commits {
                    guard.commit()?;
                    return Ok(vec![id.id.get()]);
                }
                drop(guard);
                Err(Refusal::No(ON_PURPOSE.into()))
            };
            let answer = write();
            (disk.logged(), answer)
        });
        self.observations.answer(call, at, answer);
    }

    fn create_or_delete_table(&mut self) {
        let name = format!("extra{}", self.rng.u8(0..3));
        let delete = self.rng.bool();
        let answer = self.pond().transaction(move |tx| {
            let table = TableDefinition::<u64, u64>::new(&name);
            if delete {
                tx.delete_table(table)?;
            } else {
                tx.open_table(table)?.insert(1, 1)?;
            }
            Ok(Vec::new())
        });
        self.call(asked(if delete { "delete a table" } else { "create a table" }), answer);
    }

    // --- running ------------------------------------------------------------------------------

    fn start_worker(&mut self, queue: usize) {
        let (stage, observations, disk, seed) =
            (self.stage.clone(), self.observations.clone(), self.disk.clone(), self.seed);
        let retry = Retry::fixed(5 * SECOND).max_attempts(ATTEMPTS);
        let mut worker = self.pond().worker(QUEUES[queue]).concurrency(3).no_timeout().retry(retry);
        if QUEUES[queue] == "rated" {
            worker = worker.rate_limit(Rate::per_second(2).burst(3)).group_rate_limit(Rate::per_second(1));
        }
        let handler = move |job: Job<Bytes>, ctx: Context| {
            let parts = (stage.clone(), observations.clone(), disk.clone());
            async move { handle(parts, seed, job, ctx).await }
        };
        self.workers[queue] = Some(worker.handle_raw(KIND, handler).start().expect("the only one"));
    }

    fn stop_or_start_worker(&mut self) {
        let queue = self.rng.usize(0..QUEUES.len());
        match self.workers[queue].take() {
            Some(worker) => drop(worker.stop()),
            None => self.start_worker(queue),
        }
    }

    /// Lets some of the waiting handlers continue.
    fn go_on(&mut self) {
        for _ in 0..self.rng.usize(1..4) {
            let waiting: Vec<u64> = self.stage.waiting.lock().unwrap().iter().copied().collect();
            let Some(&id) = self.rng.choice(&waiting) else { return };
            self.stage.waiting.lock().unwrap().remove(&id);
            let tell = self.stage.tell.lock().unwrap().remove(&id);
            let _ = tell.expect("it waits").send(());
        }
    }

    /// Sets the wall clock.
    fn jump(&mut self) {
        let wall = self.clock.wall();
        let hours = [24, 10 * 365 * 24][self.rng.usize(0..2)];
        self.clock.set_wall(if self.rng.bool() { wall + HOUR * hours } else { wall - HOUR });
    }

    fn advance(&mut self) {
        let by = [20, 20, 500, 1_000, 5_000, 31_000, 3_600_000];
        let by = Duration::from_millis(by[self.rng.usize(0..by.len())]);
        self.clock.advance(by);
    }

    /// Stores a schedule, or changes it: a number of runs that it never reaches.
    fn schedule(&mut self, name: &'static str) {
        let every = Every::new(HOUR / 2);
        let every = if name == SCHEDULES[0] { every.aligned() } else { every };
        let schedule = Schedule::new(every, SCHEDULED, NewJob::raw(KIND, payload(0, 20)))
            .misfire(Misfire::All { at_most: 3 })
            .overlap(Overlap::Allow)
            .at_most(1_000_000 + self.rng.u64(0..3));
        let answer = self.pond().schedule(name, schedule);
        self.call(asked("schedule"), async move { answer.await.map(|_| Vec::new()) });
    }

    // --- steering -----------------------------------------------------------------------------

    fn pause(&mut self) {
        let queue = self.queue();
        let queue = self.pond().queue(queue).expect("a good name");
        let answer = if queue.is_paused() || self.rng.bool() { queue.resume() } else { queue.pause() };
        self.call(asked("pause"), async move { answer.await.map(|_| Vec::new()) });
    }

    fn pause_group(&mut self) {
        let queue = self.queue();
        let queue = self.pond().queue(queue).expect("a good name");
        let group = GROUPS[self.rng.usize(0..GROUPS.len())];
        let answer = if self.rng.bool() { queue.resume_group(group) } else { queue.pause_group(group) };
        self.call(asked("pause a group"), async move { answer.await.map(|_| Vec::new()) });
    }

    fn any_id(&mut self) -> Option<JobId> {
        let ids = self.observations.ids();
        let id = self.rng.choice(ids.iter().rev().take(40)).map(|&id| JobId::new(id))?;
        // Messages stay as they are.
        let is_message = self.disk.without_faults(|| self.pond().job(id)).is_ok_and(|job| is_kept(&job.queue));
        (!is_message).then_some(id)
    }

    fn cancel(&mut self) {
        let running: Vec<u64> = self.stage.waiting.lock().unwrap().iter().copied().collect();
        let running = if self.rng.bool() { self.rng.choice(running).map(JobId::new) } else { None };
        let Some(id) = running.or_else(|| self.any_id()) else { return };
        let (answer, observations) = (self.pond().cancel(id, ON_PURPOSE), self.observations.clone());
        observations.release(id.get(), "cancelled");
        let cancels = Some(id.get());
        self.call(Asked { cancels, ..asked("cancel") }, async move {
            if answer.await? == CancelOutcome::Requested {
                observations.is_to_stop(id.get());
            }
            Ok(Vec::new())
        });
    }

    fn update(&mut self) {
        let Some(id) = self.any_id() else { return };
        let patch = match self.rng.u8(0..3) {
            0 => JobPatch::new().priority(priority(self.rng.u8(0..10))),
            1 => JobPatch::new().run_at(SystemTime::UNIX_EPOCH),
            _ => JobPatch::new().run_at(time(self.clock.wall() + 60 * SECOND)),
        };
        let answer = self.pond().update(id, patch);
        self.call(asked("update"), async move { answer.await.map(|_| Vec::new()) });
    }

    fn redrive(&mut self) {
        let letters = self.pond().dead_letters();
        if self.rng.bool() {
            let answer = letters.redrive_all(&JobFilter::new(), Pace::at_once());
            self.call(asked("redrive all"), async move { answer.await.map(|_| Vec::new()) });
        } else if let Some(id) = self.any_id() {
            let answer = letters.redrive(id);
            self.call(asked("redrive"), async move { answer.await.map(|_| Vec::new()) });
        }
    }

    fn purge(&mut self) {
        let Some(id) = self.any_id() else { return };
        let answer = self.pond().dead_letters().purge(id);
        self.call(asked("purge"), async move { answer.await.map(|_| Vec::new()) });
    }

    /// Fills a queue, sets limits and pauses for it, or empties, removes or renames it.
    fn doom(&mut self) {
        let name = DOOMED[self.rng.usize(0..2)];
        let queue = self.pond().queue(name).expect("a good name");
        match self.rng.u8(0..8) {
            0 => {
                let renamed = queue.rename(DOOMED[usize::from(name == DOOMED[0])]);
                self.call(asked("rename"), async move { renamed.await.map(|_| Vec::new()) });
            }
            verb @ 1..=3 => {
                // Its jobs are stored by now, or were refused.
                let Ok(page) = self.pond().jobs(&JobFilter::new().queue(name), None, 1_000) else { return };
                page.jobs.iter().for_each(|job| self.observations.release(job.id.get(), "its queue was emptied"));
                match verb {
                    1 => {
                        let drained = queue.drain();
                        self.call(asked("drain"), async move { drained.await.map(|_| Vec::new()) });
                    }
                    _ => {
                        self.obliterate(queue);
                    }
                }
            }
            4 => {
                let jobs = self.rng.u32(0..3);
                let overrides = if jobs > 0 { Overrides::new().concurrency(jobs) } else { Overrides::new() };
                let set = queue.set_overrides(overrides);
                self.call(asked("override"), async move { set.await.map(|()| Vec::new()) });
            }
            5 => {
                let paused = if self.rng.bool() { queue.pause_kind(KIND) } else { queue.resume_kind(KIND) };
                self.call(asked("pause a kind"), async move { paused.await.map(|_| Vec::new()) });
            }
            _ => {
                let tags: Vec<u64> = (0..self.rng.usize(1..20)).map(|_| self.tag()).collect();
                let jobs: Vec<_> = tags.iter().map(|&tag| make(&self.job(tag)).tag("doomed")).collect();
                let answer = self.pond().enqueue_many(name, jobs);
                self.call(Asked { tags, ..asked("fill a queue") }, answer);
            }
        }
    }

    fn obliterate(&mut self, queue: millpond::Queue) -> Call {
        self.call(asked("obliterate"), async move { queue.obliterate().await.map(|_| Vec::new()) })
    }

    fn tokens(&mut self) {
        let rate = self.pond().queue("rated").expect("a good name").rate();
        let answer = if self.rng.bool() { rate.take(1) } else { rate.reset() };
        self.call(asked("take tokens"), async move { answer.await.map(|()| Vec::new()) });
    }

    // --- closing ------------------------------------------------------------------------------

    /// Shuts the queue down and opens it again.
    fn reopen(&mut self) {
        poll_all(&mut self.calls);
        self.workers = Default::default();
        self.engine.take().expect("it is open").close();
        poll_all(&mut self.calls);
        assert!(self.calls.is_empty(), "a call outlives its queue");
        self.stage = Arc::default();
        let engine = Engine::open(&self.disk, &self.clock).expect("it opens again");
        self.drops = drops_of(&engine);
        self.engine = Some(engine);
        self.observations.observe(&self.disk, Observation::Opened);
        for queue in 0..QUEUES.len() {
            self.start_worker(queue);
        }
    }

    /// Cuts the power.
    pub fn cut_off(mut self) {
        self.workers = Default::default();
        self.calls.clear();
        self.engine.take().expect("it is open").cut_off();
    }
}

pub fn asked(what: &str) -> Asked {
    Asked { what: what.into(), ..Asked::default() }
}

/// Polls each once, in order, and removes the answered ones.
fn poll_all(calls: &mut Vec<Waiting>) {
    let mut cx = TaskContext::from_waker(std::task::Waker::noop());
    calls.retain_mut(|call| Pin::new(call).poll(&mut cx) == Poll::Pending);
}

/// Whether the handler of this job logs a line and reports progress.
pub fn talks(tag: u64) -> bool {
    tag.is_multiple_of(3)
}

async fn handle(
    (stage, observations, disk): (Arc<Stage>, Observations, SimDisk),
    seed: u64,
    job: Job<Bytes>,
    ctx: Context,
) -> Handled<Outcome> {
    let (id, tag, attempt) = (job.id().get(), tag_of(&job), job.attempt());
    observations.started(&disk, Run { id, tag, attempt });
    let mut rng = Rng::with_seed(seed ^ tag.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempt));
    if talks(tag) {
        ctx.log(format!("{id} {attempt}"));
        ctx.progress(u64::from(attempt), None, "");
    }
    let (mut answer, waits) = (ANSWERS[rng.usize(0..ANSWERS.len())], rng.u8(0..3) == 0);
    if waits && !stage.completes_only.load(Ordering::SeqCst) {
        let (tell, told) = oneshot::channel();
        stage.tell.lock().unwrap().insert(id, tell);
        stage.waiting.lock().unwrap().insert(id);
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    if tag.is_multiple_of(4) {
        ctx.step_tx("row", move |tx| count_up(tx, STEPPED, id)).await?;
    }
    if stage.completes_only.load(Ordering::SeqCst) {
        answer = Answer::DoneWithRow;
    }
    let later = Duration::from_secs(rng.u64(1..30));
    let done = || {
        observations.release(id, COMPLETED);
        Outcome::Done(None)
    };
    Ok(match answer {
        Answer::Done => done(),
        Answer::DoneWithRow => {
            ctx.on_complete(move |tx| count_up(tx, DONE, id));
            done()
        }
        Answer::DoneWithJob => {
            ctx.on_complete(move |tx| count_up(tx, DONE, id));
            ctx.on_complete(move |tx| {
                let tag = 1 << 63 | tag << 8 | u64::from(attempt);
                tx.enqueue("plain", NewJob::raw(KIND, payload(tag, 20)))?;
                Ok(())
            });
            done()
        }
        Answer::DoneWithResult => {
            observations.release(id, COMPLETED);
            Outcome::done_with(vec![1, 2, 3])
        }
        Answer::HookErrs => {
            ctx.on_complete(move |tx| count_up(tx, DONE, id));
            ctx.on_complete(|_| Err(ON_PURPOSE.into()));
            Outcome::Done(None)
        }
        Answer::HookPanics => {
            ctx.on_complete(move |tx| count_up(tx, DONE, id));
            ctx.on_complete(|_| panic!("{ON_PURPOSE}"));
            Outcome::Done(None)
        }
        Answer::Fail => return Err(ON_PURPOSE.into()),
        Answer::RetryAfter => Outcome::retry_after(ON_PURPOSE, later),
        Answer::Snooze => Outcome::snooze(later),
        Answer::RateLimited => Outcome::rate_limited(later),
        Answer::Cancel => {
            observations.release(id, "cancelled");
            Outcome::cancel(ON_PURPOSE)
        }
        Answer::DeadLetter => Outcome::dead_letter(ON_PURPOSE),
        Answer::Panic => panic!("{ON_PURPOSE}"),
    })
}
