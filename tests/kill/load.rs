//! kill -9, again and again, under a mixed load. Some processes are told to stop first, and are killed while they
//! do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use millpond::{
    Capacity, Context, Error, Event, Job, JobFilter, JobInfo, Keep, Kind, Millpond, NewJob, Outcome, QueueSettings,
    Rate, Retention, Retry, State, Timestamp, Transaction, WhenFull,
};
use millpond_testkit::{JobSpec, ON_PURPOSE, When};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::all_jobs::all_jobs;
use crate::child::{self, number, setting};
use crate::made::with_options;
use crate::starts::{self, Start};

/// The row that a transaction writes with its job: the job's number -> how often.
const WRITTEN: TableDefinition<u64, u64> = TableDefinition::new("written");
/// The row that a job writes in the transaction that completes it: id -> its number. Writing it twice fails.
const DONE: TableDefinition<u64, u64> = TableDefinition::new("done");

const QUEUES: [&str; 5] = ["plain", "grouped", starts::LIMITED, "flaky", "small"];
const GROUPS: u8 = 5;
/// The unfinished jobs of a queue at which producers pause, so that the last run can drain them.
const BACKLOG: u64 = 40;
/// The same for the queue with a rate.
const BACKLOG_LIMITED: u64 = 12;
/// The unfinished jobs for which the small queue has room.
const CAPACITY: u64 = 8;
const MANY: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    Done,
    /// Fails in its first attempt.
    FailsOnce,
    /// Fails in every attempt.
    Fails,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Work {
    /// A unique number. It is odd if a transaction enqueued the job: then it is also the number of the row.
    number: u64,
    fate: Fate,
    micros: u64,
    /// The job must not start before this, in microseconds since the epoch.
    not_before: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

fn is_of_transaction(number: u64) -> bool {
    number % 2 == 1
}

fn micros_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

// --- the child --------------------------------------------------------------------------------

pub fn child() {
    let path: String = setting("FILE");
    let (seed, produces) = (setting::<u64>("SEED"), setting::<u64>("PRODUCERS"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(&path).unwrap();
        let log = OpenOptions::new().append(true).create(true).open(setting::<String>("LOG")).unwrap();
        let log = Arc::new(log);
        note(&log, "run");
        for queue in QUEUES {
            let mut settings = QueueSettings::default().retention(Retention::default().dead(Keep::FOREVER));
            if queue == "small" {
                settings = settings.capacity(Capacity::jobs(CAPACITY)).when_full(WhenFull::Wait);
            }
            pond.queue(queue).unwrap().configure(settings).await.unwrap();
        }
        stop_when_told(&pond);
        tell_ends(&pond);
        QUEUES.iter().for_each(|queue| work(&pond, queue, &log));
        for producer in 0..produces {
            tokio::spawn(produce(pond.clone(), fastrand::Rng::with_seed(seed + producer)));
        }
        if produces > 0 {
            // Until it is killed.
            std::future::pending::<()>().await;
        }
        while QUEUES.iter().any(|queue| pond.queue(queue).unwrap().counts().unfinished() > 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pond.testing().idle().await;
        println!("drained");
        pond.shutdown(Duration::from_secs(1)).await.unwrap();
    });
}

fn stop_when_told(pond: &Millpond) {
    let pond = pond.clone();
    let deadline = Duration::from_millis(setting("DEADLINE"));
    child::on_term(async move {
        pond.shutdown(deadline).await.unwrap();
        println!("closed");
        std::process::exit(0);
    });
}

/// Uses one write for each line, so that a kill leaves whole lines.
fn note(mut log: &File, line: &str) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn tell_ends(pond: &Millpond) {
    let mut events = pond.events();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Ok(Event::Completed { id, .. }) = event {
                println!("done {id}");
            }
        }
    });
}

fn work(pond: &Millpond, queue: &'static str, log: &Arc<File>) {
    let log = log.clone();
    let mut worker = pond.worker(queue).concurrency(8).retry(Retry::fixed(Duration::from_millis(8)).max_attempts(MANY));
    if queue == starts::LIMITED {
        worker = worker.rate_limit(Rate::per_second(starts::RATE).burst(starts::BURST));
    }
    let handle = move |job: Job<Work>, ctx: Context| {
        let log = log.clone();
        async move {
            let start = Start {
                id: job.id().get(),
                queue: queue.to_owned(),
                group: job.group().map(str::to_owned),
                attempt: job.attempt(),
                fails: job.fate != Fate::Done,
                at: micros_now(),
                not_before: job.not_before,
            };
            note(&log, &start.to_string());
            tokio::time::sleep(Duration::from_micros(job.micros)).await;
            if job.fate == Fate::Fails || job.fate == Fate::FailsOnce && job.attempt() == 1 {
                return Ok(Outcome::retry(ON_PURPOSE));
            }
            let (id, number) = (job.id().get(), job.number);
            ctx.on_complete(move |tx| match tx.open_table(DONE)?.insert(id, number)? {
                None => Ok(()),
                Some(_) => panic!("job {id} is done twice"),
            });
            Ok(Outcome::Done(None))
        }
    };
    worker.handle(handle).start().unwrap();
}

fn count(tx: &Transaction<'_>, table: TableDefinition<u64, u64>, row: u64) -> Result<(), millpond::BoxError> {
    let mut table = tx.open_table(table)?;
    let before = table.get(row)?.map_or(0, |count| count.value());
    table.insert(row, before + 1)?;
    Ok(())
}

async fn produce(pond: Millpond, mut rng: fastrand::Rng) {
    loop {
        let queue = QUEUES[rng.usize(..QUEUES.len())];
        let backlog = if queue == starts::LIMITED { BACKLOG_LIMITED } else { BACKLOG };
        if pond.queue(queue).unwrap().counts().unfinished() > backlog {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        }
        if rng.u8(..20) == 0 {
            redrive_one(&pond, &mut rng).await;
        }
        let ids = match rng.u8(..16) {
            0..4 if queue != "small" => in_transaction(&pond, queue, rng.u8(..4) > 0, &mut rng).await,
            4..8 => {
                let more: Vec<NewJob> = (0..4).map(|_| new_job(queue, false, &mut rng).1()).collect();
                pond.enqueue_many(queue, more).await
            }
            _ => pond.enqueue(queue, new_job(queue, false, &mut rng).1()).await.map(|id| vec![id]),
        };
        match ids {
            Ok(ids) => ids.iter().for_each(|id| println!("ack {id}")),
            Err(Error::Closed) => return,
            Err(Error::Aborted { .. }) => {}
            Err(error) => println!("error {error:?}"),
        }
        let small = pond.queue("small").unwrap().counts().unfinished();
        if small > CAPACITY {
            println!("error: {small} jobs in the small queue");
        }
    }
}

async fn in_transaction(
    pond: &Millpond,
    queue: &'static str,
    succeeds: bool,
    rng: &mut fastrand::Rng,
) -> Result<Vec<millpond::Enqueued>, Error> {
    let (number, job) = new_job(queue, true, rng);
    let written = pond.transaction(move |tx| {
        count(tx, WRITTEN, number)?;
        let id = tx.enqueue(queue, job())?;
        if succeeds { Ok(vec![id]) } else { Err(ON_PURPOSE.into()) }
    });
    written.await
}

async fn redrive_one(pond: &Millpond, rng: &mut fastrand::Rng) {
    let dead = pond.dead_letters();
    let Ok(page) = dead.list(&JobFilter::new(), None, 50) else { return };
    let Some(job) = rng.choice(&page.jobs) else { return };
    println!("redriving {}", job.id);
    if let Ok(true) = dead.redrive(job.id).await {
        println!("redriven {}", job.id);
    }
}

fn new_job(queue: &str, in_transaction: bool, rng: &mut fastrand::Rng) -> (u64, impl Fn() -> NewJob + Send + 'static) {
    let number = rng.u64(..) >> 1 << 1 | u64::from(in_transaction);
    let fate = match (queue, rng.u8(..10)) {
        ("flaky", 0) => Fate::Fails,
        ("flaky" | "grouped", 1..5) => Fate::FailsOnce,
        _ => Fate::Done,
    };
    let micros = [0, 0, 300, 3_000, 15_000][rng.usize(..5)];
    let delay = (rng.u8(..8) == 0).then(|| rng.u64(..40));
    let not_before = delay.map_or(0, |millis| micros_now() + millis * 1_000);
    let spec = JobSpec {
        group: (queue == "grouped").then(|| rng.u8(..GROUPS)),
        priority: rng.u8(..10),
        when: delay.map_or(When::Now, When::Delay),
        max: (fate == Fate::Fails).then_some(2),
        ..JobSpec::PLAIN
    };
    let work = Work { number, fate, micros, not_before };
    // No option is a time of the wall clock.
    let no_wall = Timestamp::from_millis(0);
    let job = move || with_options(NewJob::new(work), &spec, no_wall, |group| format!("g{group}"));
    (number, job)
}

// --- the parent -------------------------------------------------------------------------------

#[derive(Default)]
pub struct Told {
    acknowledged: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// The jobs that were known to be done before each run.
    pub done_before: Vec<BTreeSet<u64>>,
    /// The jobs that were redriven, or perhaps were: their attempts are counted anew.
    pub redriving: BTreeSet<u64>,
    pub redriven: BTreeMap<u64, u32>,
}

impl Told {
    fn read_line(&mut self, line: &str, before: u64) {
        // The test harness can print text before it on the same line.
        let words = line.rsplit_once(' ').and_then(|(what, id)| Some((what, id.parse::<u64>().ok()?)));
        let Some((what, id)) = words else {
            assert!(!line.contains("error"), "{line}");
            return;
        };
        match what.rsplit(' ').next() {
            Some("ack") => {
                assert!(self.acknowledged.insert(id), "id {id} was acknowledged twice");
                assert!(id > before, "id {id} of a later run is not above {before}");
            }
            Some("done") => drop(self.done.insert(id)),
            Some("redriving") => drop(self.redriving.insert(id)),
            Some("redriven") => *self.redriven.entry(id).or_default() += 1,
            _ => assert!(!line.contains("error"), "{line}"),
        }
    }
}

#[test]
fn nothing_is_lost_or_done_twice_when_the_process_is_killed() {
    let (kills, seed) = (number("KILLS", 300), number("KILL_SEED", 1));
    println!("KILL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let (file, log, image) = (dir.path().join("queue.redb"), dir.path().join("starts.log"), dir.path().join("image"));
    let run = |seed: u64, producers: u64, deadline: u64| {
        let text = |path: &Path| path.display().to_string();
        let settings = [
            ("FILE", text(&file)),
            ("LOG", text(&log)),
            ("SEED", seed.to_string()),
            ("PRODUCERS", producers.to_string()),
            ("DEADLINE", deadline.to_string()),
        ];
        child::start("load", &settings)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut told, mut terms) = (Told::default(), 0);
    for kill in 0..kills {
        told.done_before.push(told.done.clone());
        let before = told.acknowledged.last().copied().unwrap_or(0);
        let mut child = run(seed ^ (kill << 16), 6, rng.u64(..30));
        // After its first acknowledgement; some processes are killed while they open the file instead.
        if rng.u8(..8) > 0 {
            while let Some(line) = child.next() {
                told.read_line(&line, before);
                if line.contains("ack") {
                    break;
                }
            }
        }
        thread::sleep(Duration::from_millis(rng.u64(..60)));
        // Every fifth process is shutting down when it is killed, or has just ended.
        if rng.u8(..5) == 0 {
            terms += 1;
            child.terminate();
            thread::sleep(Duration::from_millis(rng.u64(..50)));
        }
        child.kill();
        child.end().0.iter().for_each(|line| told.read_line(line, before));
        if file.exists() {
            // The next run must find what this one left, not what the checks have changed.
            std::fs::copy(&file, &image).unwrap();
            runtime.block_on(async { check_file(&image, &told, kill) });
        }
    }
    told.done_before.push(told.done.clone());
    let (lines, status) = run(0, 0, 0).end();
    assert!(lines.iter().any(|line| line.ends_with("drained")) && status.success(), "{status}: {lines:?}");
    lines.iter().for_each(|line| told.read_line(line, u64::MAX));
    let unfinished = runtime.block_on(async { check_file(&file, &told, kills) });
    assert_eq!(unfinished, 0, "all have ended");
    let starts = starts::check(&std::fs::read_to_string(&log).unwrap(), &told);
    println!(
        "{kills} kills, {terms} of them after a TERM; {} acknowledged, {} known to be done, {} redriven; {starts} starts",
        told.acknowledged.len(),
        told.done.len(),
        told.redriven.values().sum::<u32>(),
    );
    let has_seen_all = kills < 100 || !told.redriven.is_empty() && terms > 0 && told.done.len() > 500;
    assert!(has_seen_all, "the load leaves something out");
}

/// Checks that every acknowledged job is stored or has ended, with its row, and that every row has its
/// job. Returns how many jobs have not ended.
fn check_file(file: &Path, told: &Told, kill: u64) -> usize {
    let pond = Millpond::open(file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new(), "kill {kill}");
    let jobs: BTreeMap<u64, JobInfo> = all_jobs(&pond).into_iter().map(|job| (job.id.get(), job)).collect();
    let read = pond.begin_read().unwrap();
    let rows = |table: TableDefinition<u64, u64>| -> BTreeMap<u64, u64> {
        let Ok(table) = read.open_table(table) else { return BTreeMap::new() };
        table.iter().unwrap().map(|row| row.unwrap()).map(|(row, value)| (row.value(), value.value())).collect()
    };
    let (done, mut written) = (rows(DONE), rows(WRITTEN));
    for id in &told.acknowledged {
        let (there, ended) = (jobs.contains_key(id), done.contains_key(id));
        assert!(there || ended, "kill {kill}: job {id} was acknowledged and is lost");
        assert!(!(there && ended), "kill {kill}: job {id} has ended and is still there: {:?}", jobs[id]);
    }
    for id in &told.done {
        assert!(done.contains_key(id), "kill {kill}: job {id} was reported as done and is not");
    }
    let mut numbers: Vec<u64> = done.into_values().collect();
    let mut small = 0;
    let mut unfinished = 0;
    for job in jobs.values() {
        let work: Work = job.payload.decode().unwrap();
        numbers.push(work.number);
        small += u64::from(job.queue == "small");
        unfinished += usize::from(!job.state.is_final());
        let may_be = job.state == State::Dead && work.fate == Fate::Fails || !job.state.is_final();
        assert!(may_be, "kill {kill}: {job:?}");
    }
    assert!(small <= CAPACITY, "kill {kill}: {small} jobs in the small queue");
    for number in numbers.into_iter().filter(|number| is_of_transaction(*number)) {
        assert_eq!(written.remove(&number), Some(1), "kill {kill}: the row of a transaction's job");
    }
    assert_eq!(written, BTreeMap::new(), "kill {kill}: rows without their jobs");
    unfinished
}
