//! The real queue on bytes in memory, with a clock that the test moves and handlers that wait until
//! the test tells them their answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{
    Clock, Context, DeadJob, Handled, Job, JobFilter, JobId, JobInfo, Keep, Millpond, NewJob, Outcome, QueueSettings,
    Retention, Retry, Timestamp, Transaction, Worker,
};
use millpond_testkit::{JobSpec, ON_PURPOSE, SimDisk};
use redb::{ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::all_jobs::all_jobs;
use crate::made::with_options;
use crate::model::{ATTEMPTS, BACKOFF, Hook, KEPT, Start, death_row, hook_of, hook_row};
use crate::ops::{Answer, QUEUES};
use crate::scrambled::Scrambled;

/// Each row counts how often it was written.
pub const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
pub const KIND: &str = "k";
pub const TOPIC: &str = "topic";
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Stage {
    starts: Vec<Start>,
    parked: BTreeMap<u64, oneshot::Sender<Answer>>,
}

pub struct Engine {
    pub pond: Millpond,
    pub clock: ManualClock,
    memory: SimDisk,
    /// Ready jobs held in memory per queue.
    window: usize,
    stage: Arc<Mutex<Stage>>,
    workers: [Option<Worker>; QUEUES],
    /// The builder's limits are small: calls that are made at once can be committed one after the other.
    pub moves_little: bool,
}

pub fn queue_name(queue: usize) -> String {
    format!("q{queue}")
}

/// The tag of each job that is enqueued with a priority.
const TAG: &str = "with a priority";

pub fn group_name(group: usize) -> String {
    format!("g{group}")
}

pub fn new_job(spec: &JobSpec, wall: Timestamp) -> NewJob {
    // Some payloads do not fit into the smaller window.
    let payload = vec![7; if spec.priority == 5 { 7 } else { 400 }];
    let job = with_options(NewJob::raw(KIND, payload), spec, wall, |group| group_name(usize::from(group)));
    let job = if spec.priority == 5 { job } else { job.tag(TAG) };
    match spec.key {
        Some((key, unique_for)) => job.unique_key(format!("k{key}")).unique_for(Duration::from_millis(unique_for)),
        None => job,
    }
}

pub fn stream_name(stream: usize) -> String {
    format!("s{stream}")
}

/// The header with the number that tells an entry from others.
pub const NUMBER: &str = "n";

pub fn new_entry(key: Option<u8>, n: u64) -> NewJob {
    let entry = NewJob::raw(KIND, vec![7; 7]).header(NUMBER, n.to_string());
    match key {
        Some(key) => entry.group(group_name(usize::from(key))),
        None => entry,
    }
}

pub fn at(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// Adds one to a row: a row that was written twice shows it.
pub fn write_row(tx: &Transaction<'_>, row: u64) -> Result<(), millpond::BoxError> {
    let mut table = tx.open_table(ROWS)?;
    let before = table.get(row)?.map_or(0, |count| count.value());
    table.insert(row, before + 1)?;
    Ok(())
}

/// Whether an engine with so many slots is opened with small limits: every second one is.
fn moves_little(max_running: usize) -> bool {
    max_running.is_multiple_of(2)
}

/// Whether an engine with such a window has a payload codec: nothing that can be seen from outside depends on it. The window
/// stays the same when the file is opened again.
fn is_coded(window: usize) -> bool {
    !window.is_multiple_of(2)
}

fn open(memory: &SimDisk, clock: &ManualClock, max_running: usize, window: usize) -> Millpond {
    let builder = Millpond::builder().clock(clock.clone()).seed(0).max_running(max_running).cache_bytes(1 << 20);
    let builder = builder.window_jobs_max(window).on_dead(on_dead).cancel_grace(Duration::MAX);
    // It moves one or two jobs at a time, and holds no more of them in memory.
    let builder = if moves_little(max_running) { builder.batch_bytes_max(64).window_bytes_max(300) } else { builder };
    let scrambled = Scrambled { key: max_running as u8, reads: |_, _| {} };
    let builder = if is_coded(window) { builder.payload_codec(scrambled) } else { builder };
    builder.open_backend(memory.clone()).expect("it opens")
}

/// The hook for dead jobs. It writes a row for each death, and fails for some jobs.
fn on_dead(tx: &Transaction<'_>, dead: &DeadJob<'_>) -> Result<(), millpond::BoxError> {
    let id = dead.id().get();
    let mut death = 0;
    while tx.open_table(ROWS)?.get(death_row(id, death))?.is_some() {
        death += 1;
    }
    write_row(tx, death_row(id, death))?;
    match hook_of(id) {
        Hook::Writes => Ok(()),
        Hook::Enqueues => {
            tx.enqueue(&queue_name(JobSpec::PLAIN.queue), new_job(&JobSpec::PLAIN, Timestamp::from_millis(0)))?;
            Ok(())
        }
        Hook::Errs => Err(ON_PURPOSE.into()),
        Hook::Panics => panic!("{ON_PURPOSE}"),
    }
}

impl Engine {
    pub async fn new(max_running: usize, window: usize) -> Self {
        let (memory, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&memory, &clock, max_running, window);
        let engine = Self::around(pond, clock, memory, max_running, window);
        for queue in 0..QUEUES {
            engine.configure(queue).await;
        }
        engine.commit_something().await;
        engine
    }

    /// Sets a queue up of which nothing is stored.
    pub async fn configure(&self, queue: usize) {
        let keep = if queue == 1 { Keep::new(Duration::from_millis(KEPT), u64::MAX) } else { Keep::FOREVER };
        let retention = Retention::default().completed(keep).cancelled(keep).dead(keep);
        let groups = if queue == 1 { millpond::GroupPolicy::Skip } else { millpond::GroupPolicy::Hold };
        let settings = QueueSettings::default().retention(retention).groups(groups);
        self.queue(queue).configure(settings).await.unwrap();
    }

    fn around(pond: Millpond, clock: ManualClock, memory: SimDisk, max_running: usize, window: usize) -> Self {
        let (stage, workers) = Default::default();
        Self { pond, clock, memory, window, stage, workers, moves_little: moves_little(max_running) }
    }

    /// Commits once: the file then knows the present time, and has the application's table.
    pub async fn commit_something(&self) {
        let touch = |tx: &Transaction<'_>| {
            tx.open_table(ROWS)?;
            Ok(())
        };
        self.pond.transaction(touch).await.unwrap();
    }

    pub fn topic(&self) -> millpond::Topic {
        self.pond.topic(TOPIC).unwrap()
    }

    pub fn stream(&self, stream: usize) -> millpond::Stream {
        self.pond.stream(&stream_name(stream)).unwrap()
    }

    pub fn queue(&self, queue: usize) -> millpond::Queue {
        self.pond.queue(&queue_name(queue)).unwrap()
    }

    // --- workers ------------------------------------------------------------------------------

    pub fn start_worker(&mut self, queue: usize, slots: usize) {
        let (stage, clock) = (self.stage.clone(), self.clock.clone());
        let worker = self
            .pond
            .worker(&queue_name(queue))
            .concurrency(slots)
            .no_timeout()
            .retry(Retry::fixed(Duration::from_millis(BACKOFF)).jitter(0.0).max_attempts(ATTEMPTS))
            .handle_raw(KIND, move |job: Job<Bytes>, ctx: Context| handle(stage.clone(), clock.clone(), job, ctx))
            .start()
            .unwrap();
        self.workers[queue] = Some(worker);
    }

    pub fn stop_worker(&mut self, queue: usize) {
        if let Some(worker) = self.workers[queue].take() {
            worker.stop();
        }
    }

    pub fn set_concurrency(&mut self, queue: usize, slots: usize) {
        self.workers[queue].as_ref().unwrap().set_concurrency(slots).unwrap();
    }

    /// Tells a waiting handler what to answer and waits until its attempt has ended.
    pub async fn answer(&mut self, id: u64, answer: Answer) {
        let tell = self.stage.lock().unwrap().parked.remove(&id).expect("its handler waits");
        tell.send(answer).expect("its handler waits");
        // There is one thread: when this task is polled again, the handler has been polled, and its end is sent.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }

    // --- opening ------------------------------------------------------------------------------

    pub async fn reopen(self, max_running: usize) -> Self {
        let memory = self.memory.clone();
        self.open_again(memory, max_running, |_| {}).await
    }

    pub async fn crash(self, max_running: usize) -> Self {
        self.away(true, max_running, |_| {}).await
    }

    /// Closes or kills the queue, does what happens `meanwhile`, and opens it again.
    pub async fn away(self, kill: bool, max_running: usize, meanwhile: impl FnOnce(&ManualClock)) -> Self {
        let memory = if kill { self.memory.after_kill() } else { self.memory.clone() };
        self.open_again(memory, max_running, meanwhile).await
    }

    async fn open_again(self, memory: SimDisk, max_running: usize, meanwhile: impl FnOnce(&ManualClock)) -> Self {
        let Self { pond, clock, window, stage: before, workers, .. } = self;
        drop(workers);
        drop(pond);
        before.lock().unwrap().parked.clear();
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        meanwhile(&clock);
        let pond = open(&memory, &clock, max_running, window);
        Self::around(pond, clock, memory, max_running, window)
    }

    // --- reading ------------------------------------------------------------------------------

    /// Waits until nothing can start before the test does something, and every running job has reached
    /// its handler.
    pub async fn until_at_rest(&self) -> Result<(), String> {
        let at_rest = async {
            loop {
                self.pond.testing().settled().await;
                let problems = self.pond.verify().await.expect("it can be verified").problems;
                if !problems.is_empty() {
                    return Err(format!("verify: {problems:#?}"));
                }
                self.pond.testing().settled().await;
                let running: usize = (0..QUEUES).map(|queue| self.queue(queue).counts().running as usize).sum();
                if running == self.stage.lock().unwrap().parked.len() {
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, at_rest)
            .await
            .map_err(|_| format!("it does not come to rest: running {:?}, parked {:?}", self.states(), self.parked()))?
    }

    fn states(&self) -> Vec<(JobId, millpond::State)> {
        self.pond.testing().states(&self.pond)
    }

    pub fn parked(&self) -> BTreeSet<u64> {
        self.stage.lock().unwrap().parked.keys().copied().collect()
    }

    pub fn take_starts(&self) -> Vec<Start> {
        std::mem::take(&mut self.stage.lock().unwrap().starts)
    }

    pub fn jobs(&self) -> BTreeMap<u64, JobInfo> {
        all_jobs(&self.pond).into_iter().map(|job| (job.id.get(), job)).collect()
    }

    /// The jobs that are found by their tag.
    pub fn tagged(&self) -> BTreeSet<u64> {
        let page = self.pond.jobs(&JobFilter::new().tag(TAG), None, 10_000).unwrap();
        page.jobs.into_iter().map(|job| job.id.get()).collect()
    }

    pub fn rows(&self) -> BTreeMap<u64, u64> {
        let read = self.pond.begin_read().unwrap();
        let table = read.open_table(ROWS).unwrap();
        table.iter().unwrap().map(|row| row.unwrap()).map(|(row, count)| (row.value(), count.value())).collect()
    }

    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }
}

/// Whether the handler of this job logs a line and reports progress when it is answered.
pub fn talks(id: u64) -> bool {
    !id.is_multiple_of(3)
}

async fn handle(stage: Arc<Mutex<Stage>>, clock: ManualClock, job: Job<Bytes>, ctx: Context) -> Handled<Outcome> {
    let id = job.id().get();
    let (tell, told) = oneshot::channel();
    {
        let mut stage = stage.lock().unwrap();
        stage.starts.push(Start { id, attempt: job.attempt(), max: job.max_attempts() });
        stage.parked.insert(id, tell);
    }
    let Ok(answer) = told.await else { std::future::pending().await };
    if talks(id) {
        ctx.log(format!("{id} {}", job.attempt()));
        ctx.progress(id, None, "");
    }
    let wall = clock.wall();
    Ok(match answer {
        Answer::Done => Outcome::Done(None),
        Answer::DoneWithRow => {
            ctx.on_complete(move |tx| write_row(tx, hook_row(id)));
            Outcome::Done(None)
        }
        Answer::DoneWithJob(spec) => {
            ctx.on_complete(move |tx| write_row(tx, hook_row(id)));
            ctx.on_complete(move |tx| {
                tx.enqueue(&queue_name(spec.queue), new_job(&spec, wall))?;
                Ok(())
            });
            Outcome::Done(None)
        }
        Answer::DoneButHookErrs => {
            ctx.on_complete(move |tx| write_row(tx, hook_row(id)));
            ctx.on_complete(|_| Err(ON_PURPOSE.into()));
            Outcome::Done(None)
        }
        Answer::DoneButHookPanics => {
            ctx.on_complete(move |tx| write_row(tx, hook_row(id)));
            ctx.on_complete(|_| panic!("{ON_PURPOSE}"));
            Outcome::Done(None)
        }
        Answer::Fail => return Err(ON_PURPOSE.into()),
        Answer::RetryAfter(delay) => Outcome::retry_after(ON_PURPOSE, Duration::from_millis(delay)),
        Answer::Snooze(delay) => Outcome::snooze(Duration::from_millis(delay)),
        Answer::RateLimited(delay) => Outcome::rate_limited(Duration::from_millis(delay)),
        Answer::RateLimitedQueue(delay) => Outcome::rate_limited_queue(Duration::from_millis(delay)),
        Answer::Cancel => Outcome::cancel(ON_PURPOSE),
        Answer::DeadLetter => Outcome::dead_letter(ON_PURPOSE),
        Answer::Panic => panic!("{ON_PURPOSE}"),
    })
}
