//! Cuts the power while entries are appended and published, consumed, retried and removed. Whatever is left: what was acknowledged is there,
//! each entry is handled exactly once as far as the application's rows can tell, the entries of a key in order, and what a
//! consumer has lost to retention is counted exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use millpond::testing::ManualClock;
use millpond::{
    Binding, BoxError, Clock, Context, Handled, Job, JobFilter, NewJob, Outcome, Retry, StreamSettings, Transaction,
    Worker,
};
use millpond_testkit::{CUT_POLICIES, Image, ON_PURPOSE, SimDisk, Walk};
use redb::{ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use crate::engine::{Engine, KIND, clock_at};
use crate::workload::count_up;
use crate::{be_quiet_about_panics_on_purpose, number};

/// How often each entry was handled, by offset.
const HANDLED: TableDefinition<u64, u64> = TableDefinition::new("handled");
/// The offset behind the last entry of each key that was handled.
const LAST: TableDefinition<u64, u64> = TableDefinition::new("last");
/// Entries that were handled out of order.
const BAD: TableDefinition<u64, u64> = TableDefinition::new("bad");

const KEYS: u64 = 4;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const STEPS: usize = 60;
const SEEDS: u64 = 12;
/// Images of one seed that are checked.
const IMAGES: usize = 60;
/// Rounds in which a consumer must have come to the end.
const ROUNDS: usize = 40;

/// The handlers that wait until they are told to go on.
#[derive(Default)]
struct Stage {
    completes_only: AtomicBool,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

/// What the callers were told.
#[derive(Default)]
struct Told {
    /// Entries that were acknowledged: when, their offsets and their numbers.
    appended: Vec<(usize, u64, u64)>,
    /// The numbers of entries whose transactions were undone.
    undone: BTreeSet<u64>,
}

struct Workload {
    engine: Option<Engine>,
    disk: SimDisk,
    clock: ManualClock,
    rng: Rng,
    seed: u64,
    next: u64,
    stage: Arc<Stage>,
    consumer: Option<Worker>,
    told: Told,
    /// Until here the log makes the file.
    opened: usize,
}

fn entry(n: u64, padding: usize) -> NewJob {
    let mut payload = n.to_le_bytes().to_vec();
    payload.resize(8 + padding, n as u8);
    let entry = NewJob::raw(KIND, payload);
    // A fifth of them has no key.
    match n % (KEYS + 1) {
        0 => entry,
        key => entry.group(format!("k{key}")),
    }
}

fn number_of(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().expect("eight bytes"))
}

/// The application's rows of an entry that is handled.
fn note(tx: &Transaction<'_>, offset: u64, key: u64) -> Result<(), BoxError> {
    count_up(tx, HANDLED, offset)?;
    let mut last = tx.open_table(LAST)?;
    let before = last.get(key)?.map_or(0, |last| last.value());
    if before > offset {
        drop(last);
        return count_up(tx, BAD, offset);
    }
    last.insert(key, offset + 1)?;
    Ok(())
}

async fn handle(stage: Arc<Stage>, seed: u64, job: Job<Bytes>, ctx: Context) -> Handled<Outcome> {
    let offset = job.entry().expect("it is an entry").offset;
    let key = number_of(&job) % (KEYS + 1);
    let mut rng = Rng::with_seed(seed ^ offset.wrapping_mul(0x9e37_79b9) ^ u64::from(job.attempt()) << 40);
    let (answer, waits) = (rng.u8(0..20), rng.u8(0..4) == 0);
    if waits && !stage.completes_only.load(Ordering::SeqCst) {
        let (tell, told) = oneshot::channel();
        stage.waiting.lock().unwrap().insert(offset, tell);
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
    let answer = if stage.completes_only.load(Ordering::SeqCst) { 19 } else { answer };
    ctx.on_complete(move |tx| note(tx, offset, key));
    Ok(match answer {
        0..3 => return Err(ON_PURPOSE.into()),
        3..5 => Outcome::snooze(5 * SECOND),
        5 => Outcome::dead_letter(ON_PURPOSE),
        6 => panic!("{ON_PURPOSE}"),
        7 => {
            ctx.on_complete(|_| Err(ON_PURPOSE.into()));
            Outcome::done()
        }
        8 => {
            ctx.log("a line");
            Outcome::done()
        }
        _ => Outcome::done(),
    })
}

impl Workload {
    fn open(seed: u64) -> Self {
        let (disk, clock) = (SimDisk::new().recorded(), ManualClock::new());
        let engine = Engine::open(&disk, &clock).expect("it opens");
        Self {
            opened: disk.logged(),
            engine: Some(engine),
            disk,
            clock,
            rng: Rng::with_seed(seed),
            seed,
            next: 0,
            stage: Arc::default(),
            consumer: None,
            told: Told::default(),
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("it is open")
    }

    fn run(&mut self) {
        let bound = self.engine().pond.topic("t").expect("a good name").bind(Binding::to_stream("s"));
        self.engine().call(bound).expect("the disk works");
        self.start();
        for _ in 0..STEPS {
            self.step();
            self.engine().run_until_quiet();
        }
    }

    fn step(&mut self) {
        match self.rng.u8(0..100) {
            0..25 => self.append(),
            25..35 => self.publish(),
            35..45 => self.append_in_a_transaction(),
            45..68 => self.go_on(),
            68..80 => {
                let by = [20, 20, 1_000, 6_000, 3_600_000][self.rng.usize(0..5)];
                self.clock.advance(Duration::from_millis(by));
            }
            80..85 => match self.consumer.take() {
                Some(worker) => drop(worker.stop()),
                None => self.start(),
            },
            85..90 => self.pause_or_resume(),
            90..95 => self.retain(),
            _ => self.reopen(),
        }
    }

    fn numbers(&mut self) -> Vec<u64> {
        let count = self.rng.u64(1..6);
        self.next += count;
        (self.next - count..self.next).collect()
    }

    fn append(&mut self) {
        let numbers = self.numbers();
        let padding = self.rng.usize(0..60);
        let stream = self.engine().pond.stream("s").expect("a good name");
        let call = stream.append_many(numbers.iter().map(|n| entry(*n, padding)));
        let appended = self.engine().call(call).expect("the disk works");
        let at = self.disk.logged();
        self.told.appended.extend((appended.first..).zip(numbers).map(|(offset, n)| (at, offset, n)));
    }

    fn publish(&mut self) {
        self.next += 1;
        let n = self.next - 1;
        let call = self.engine().pond.topic("t").expect("a good name").publish("a", entry(n, 0));
        let published = self.engine().call(call).expect("the disk works");
        let at = self.disk.logged();
        self.told.appended.push((at, published.entry_in("s").expect("it is bound"), n));
    }

    fn append_in_a_transaction(&mut self) {
        let (numbers, fails) = (self.numbers(), self.rng.u8(0..3) == 0);
        let given = numbers.clone();
        let call = self.engine().pond.transaction(move |tx| {
            let appended = tx.append_many("s", given.iter().map(|n| entry(*n, 0)))?;
            if fails { Err(ON_PURPOSE.into()) } else { Ok(appended.first) }
        });
        match self.engine().call(call) {
            Ok(first) => {
                let at = self.disk.logged();
                self.told.appended.extend((first..).zip(numbers).map(|(offset, n)| (at, offset, n)));
            }
            Err(_) => self.told.undone.extend(numbers),
        }
    }

    fn start(&mut self) {
        let (stage, seed) = (self.stage.clone(), self.seed);
        let call = self
            .engine()
            .pond
            .consumer("s", "c")
            .retry(Retry::fixed(5 * SECOND).max_attempts(3))
            .concurrency(3)
            .worker(|worker| {
                worker.no_timeout().handle_raw(KIND, move |job: Job<Bytes>, ctx: Context| {
                    let stage = stage.clone();
                    async move { handle(stage, seed, job, ctx).await }
                })
            })
            .start();
        self.consumer = Some(self.engine().call(call).expect("it starts"));
    }

    fn go_on(&mut self) {
        for _ in 0..self.rng.usize(1..4) {
            let mut waiting = self.stage.waiting.lock().unwrap();
            let offsets: Vec<u64> = waiting.keys().copied().collect();
            let Some(offset) = self.rng.choice(&offsets) else { return };
            let _ = waiting.remove(offset).expect("it waits").send(());
        }
    }

    fn pause_or_resume(&mut self) {
        let queue = self.engine().pond.queue("s:c").expect("a good name");
        let call = if queue.is_paused() { queue.resume() } else { queue.pause() };
        self.engine().call(call).expect("the disk works");
    }

    /// Removes all but some entries once.
    fn retain(&mut self) {
        let stream = self.engine().pond.stream("s").expect("a good name");
        let entries = self.rng.u64(3..30);
        let calls = [StreamSettings::default().max_entries(entries), StreamSettings::default()];
        let [limited, unlimited] = calls.map(|settings| stream.configure(settings));
        self.engine().call(limited).expect("the disk works");
        self.engine().call(stream.sweep()).expect("the disk works");
        self.engine().call(unlimited).expect("the disk works");
    }

    fn reopen(&mut self) {
        self.consumer = None;
        self.engine.take().expect("it is open").close();
        self.stage = Arc::default();
        self.engine = Some(Engine::open(&self.disk, &self.clock).expect("it opens again"));
        self.start();
    }
}

fn rows(engine: &Engine, table: TableDefinition<'static, u64, u64>) -> BTreeMap<u64, u64> {
    let read = engine.pond.begin_read().expect("it is readable");
    let Ok(table) = read.open_table(table) else { return BTreeMap::new() };
    table
        .iter()
        .expect("rows")
        .map(|row| row.map(|(key, value)| (key.value(), value.value())).expect("a row"))
        .collect()
}

fn sound(engine: &mut Engine) -> Result<(), String> {
    let verify = engine.pond.verify();
    let found = engine.call(verify).map_err(|error| format!("it cannot be verified: {error}"))?;
    if found.is_ok() { Ok(()) } else { Err(format!("verify: {:?}", found.problems)) }
}

/// Opens what is left, and lets a consumer come to the end of the stream.
fn check(image: Image, told: &Told, at: usize, wall: millpond::Timestamp) -> Result<(), String> {
    let (disk, clock) = (SimDisk::holding(image), clock_at(wall));
    let mut engine = Engine::open(&disk, &clock).map_err(|error| format!("it does not open: {error}"))?;
    sound(&mut engine)?;
    let stream = engine.pond.stream("s").expect("a good name");
    let Ok(info) = stream.info() else {
        let lost = told.appended.iter().any(|(when, ..)| *when <= at);
        return if lost { Err("the stream is gone".into()) } else { Ok(()) };
    };
    let entries = stream.read(0, 10_000).map_err(|error| error.to_string())?;
    let there: BTreeMap<u64, u64> =
        entries.iter().map(|entry| (entry.offset, number_of(&entry.payload.bytes))).collect();
    for (_, offset, n) in told.appended.iter().filter(|(when, ..)| *when <= at) {
        if *offset >= info.first && there.get(offset) != Some(n) {
            return Err(format!("entry {offset} was acknowledged with number {n}, and is {:?}", there.get(offset)));
        }
    }
    if let Some(n) = there.values().find(|n| told.undone.contains(n)) {
        return Err(format!("number {n} was undone and is there"));
    }
    if there.values().collect::<BTreeSet<_>>().len() != there.len() {
        return Err(format!("a number is there twice: {there:?}"));
    }
    let before = rows(&engine, HANDLED);
    let again: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (seen, known) = (again.clone(), before.clone());
    let consumer = engine
        .pond
        .consumer("s", "c")
        .retry(Retry::fixed(5 * SECOND).max_attempts(3))
        .worker(|worker| {
            worker.handle_raw(KIND, move |job: Job<Bytes>, ctx: Context| {
                let (offset, key) = (job.entry().expect("an entry").offset, number_of(&job) % (KEYS + 1));
                if known.contains_key(&offset) {
                    seen.lock().unwrap().push(offset);
                }
                ctx.on_complete(move |tx| note(tx, offset, key));
                async { Ok(()) }
            })
        })
        .start();
    engine.call(consumer).map_err(|error| format!("the consumer does not start: {error}"))?;
    let queue = engine.pond.queue("s:c").expect("a good name");
    let resumed = queue.resume();
    engine.call(resumed).map_err(|error| error.to_string())?;
    let consumer = stream.consumer("c").expect("a good name");
    let mut rounds = 0;
    let end = loop {
        engine.run_until_quiet();
        let now = consumer.info().map_err(|error| error.to_string())?;
        if now.behind == 0 && now.jobs == 0 {
            break now;
        }
        rounds += 1;
        if rounds == ROUNDS {
            return Err(format!("the consumer does not come to the end: {now:?}"));
        }
        clock.advance(HOUR);
    };
    sound(&mut engine)?;
    if let Some(offset) = again.lock().unwrap().first() {
        return Err(format!("entry {offset} was handled again after its row was durable"));
    }
    let (handled, bad) = (rows(&engine, HANDLED), rows(&engine, BAD));
    if let Some((offset, count)) = handled.iter().find(|(_, count)| **count != 1) {
        return Err(format!("entry {offset} was handled {count} times"));
    }
    if !bad.is_empty() {
        return Err(format!("entries were handled out of order: {bad:?}"));
    }
    let dead = engine.pond.jobs(&JobFilter::new().queue("s:c").state(millpond::State::Dead), None, 10_000);
    let dead: BTreeSet<u64> = dead
        .map_err(|error| error.to_string())?
        .jobs
        .iter()
        .filter_map(|job| Some(job.entry.as_ref()?.offset))
        .collect();
    let missing =
        (0..info.next).filter(|offset| !handled.contains_key(offset) && !dead.contains(offset)).count() as u64;
    if missing != end.lost {
        return Err(format!("{missing} entries were not handled, and {} are counted as lost", end.lost));
    }
    engine.cut_off();
    Ok(())
}

#[test]
fn no_power_cut_loses_an_entry_or_has_one_handled_twice() {
    be_quiet_about_panics_on_purpose();
    let (first, seeds) = (number("STREAM_SEED", 0), number("STREAM_SEEDS", SEEDS));
    let mut checked = 0;
    let (mut lost, mut dead, mut jobs) = (0, 0, 0);
    for seed in first..first + seeds {
        let mut workload = Workload::open(seed);
        workload.run();
        if let Ok(info) = workload.engine().pond.stream("s").expect("a good name").consumer("c").and_then(|c| c.info())
        {
            (lost, dead, jobs) = (lost + info.lost, dead + info.dead, jobs + info.jobs);
        }
        let wall = workload.clock.wall();
        let (log, told) = (workload.disk.take_log(), std::mem::take(&mut workload.told));
        workload.consumer = None;
        workload.engine.take().expect("it is open").cut_off();
        let mut rng = Rng::with_seed(seed);
        let operations = log.iter().filter(|entry| entry.is_operation()).count();
        let mut walk = Walk::new(Image::default(), &log);
        while let Some(found) = walk.step() {
            // Before the file was made, there is nothing to open.
            if walk.at() <= workload.opened || !found.is_operation() || rng.usize(0..operations) >= IMAGES {
                continue;
            }
            let policy = CUT_POLICIES[rng.usize(0..CUT_POLICIES.len())];
            let image = walk.cut(policy, &mut rng);
            checked += 1;
            if let Err(what) = check(image, &told, walk.at(), wall) {
                panic!("STREAM_SEED={seed} STREAM_SEEDS=1, entry {} of the log, {policy:?}: {what}", walk.at());
            }
        }
    }
    println!("{checked} images of {seeds} seeds; at the ends {lost} entries lost, {dead} dead, {jobs} jobs");
    assert!(checked > 0 && lost > 0 && dead > 0 && jobs > 0, "something was never reached");
}
