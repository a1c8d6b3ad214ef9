//! kill -9, again and again, under a load of everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millpond::{
    Context, Event, Heard, Job, JobFilter, JobInfo, Keep, Kind, Millpond, NewJob, Outcome, Priority, QueueSettings,
    Rate, Retention, Retry, State, Transaction,
};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::child::{self, number, setting};

/// What a transaction wrote beside its job: number -> how often.
const WRITTEN: TableDefinition<u64, u64> = TableDefinition::new("written");
/// What a job wrote with its completion: id -> how often.
const DONE: TableDefinition<u64, u64> = TableDefinition::new("done");

const QUEUES: [&str; 4] = ["plain", "grouped", "limited", "flaky"];
const GROUPS: u64 = 5;
/// Unfinished jobs at which producers wait: a last run is to drain them.
const BACKLOG: u64 = 250;
const MANY: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Fate {
    Done,
    /// Fails in its first attempt.
    FailsOnce,
    /// Fails in every attempt.
    Fails,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Work {
    /// A number of its own, and the row of the transaction that enqueued it, if one did.
    number: u64,
    in_transaction: bool,
    fate: Fate,
    micros: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

// --- the child --------------------------------------------------------------------------------

pub fn child() {
    let path: String = setting("FILE");
    let (seed, produces, stop_after) =
        (setting::<u64>("SEED"), setting::<u64>("PRODUCERS"), setting::<u64>("STOP_AFTER"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(&path).unwrap();
        let log = OpenOptions::new().append(true).create(true).open(setting::<String>("LOG")).unwrap();
        let log = Arc::new(log);
        note(&log, "run");
        for queue in QUEUES {
            let keep = Retention::default().completed(Keep::FOREVER).dead(Keep::FOREVER);
            pond.queue(queue).unwrap().configure(QueueSettings::default().retention(keep)).await.unwrap();
        }
        tell_ends(&pond);
        QUEUES.iter().for_each(|queue| work(&pond, queue, &log));
        for producer in 0..produces {
            tokio::spawn(produce(pond.clone(), fastrand::Rng::with_seed(seed + producer)));
        }
        if produces > 0 {
            tokio::time::sleep(Duration::from_millis(stop_after)).await;
            pond.shutdown(Duration::from_millis(20)).await.unwrap();
            return;
        }
        while QUEUES.iter().any(|queue| pond.queue(queue).unwrap().counts().unfinished() > 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pond.testing().idle().await;
        println!("drained");
        pond.shutdown(Duration::from_secs(1)).await.unwrap();
    });
}

/// One write each, so that a kill leaves whole lines.
fn note(mut log: &File, line: &str) {
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn tell_ends(pond: &Millpond) {
    let mut events = pond.events();
    tokio::spawn(async move {
        while let Some(heard) = events.next().await {
            if let Heard::Event(Event::Completed { id, .. }) = heard {
                println!("done {id}");
            }
        }
    });
}

fn work(pond: &Millpond, queue: &str, log: &Arc<File>) {
    let log = log.clone();
    let mut worker = pond.worker(queue).concurrency(8).retry(Retry::fixed(Duration::from_millis(8)).max_attempts(MANY));
    if queue == "limited" {
        worker = worker.rate_limit(Rate::per_second(300).burst(20));
    }
    let handle = move |job: Job<Work>, ctx: Context| {
        let log = log.clone();
        async move {
            note(&log, &format!("start {} {} {}", job.id(), job.group().unwrap_or("-"), job.attempt()));
            tokio::time::sleep(Duration::from_micros(job.micros)).await;
            if job.fate == Fate::Fails || job.fate == Fate::FailsOnce && job.attempt() == 1 {
                return Ok(Outcome::retry("on purpose"));
            }
            let id = job.id().get();
            ctx.on_complete(move |tx| count(tx, DONE, id));
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
        while QUEUES.iter().map(|queue| pond.queue(queue).unwrap().counts().unfinished()).sum::<u64>() > BACKLOG {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let queue = QUEUES[rng.usize(..QUEUES.len())];
        let in_transaction = rng.u8(..4) == 0;
        let job = new_job(queue, in_transaction, &mut rng);
        let ids = match (in_transaction, rng.u8(..4)) {
            (true, fate) => {
                let (number, job) = job;
                let written = pond.transaction(move |tx| {
                    count(tx, WRITTEN, number)?;
                    let id = tx.enqueue(queue, job())?;
                    match fate {
                        0 => Err("on purpose".into()),
                        _ => Ok(id),
                    }
                });
                written.await.map(|id| vec![id])
            }
            (false, 0) => {
                let more: Vec<NewJob> = (0..4).map(|_| new_job(queue, false, &mut rng).1()).collect();
                pond.enqueue_many(queue, more).await
            }
            (false, _) => pond.enqueue(queue, job.1()).await.map(|id| vec![id]),
        };
        match ids {
            Ok(ids) => ids.iter().for_each(|id| println!("ack {id}")),
            Err(millpond::Error::Closed) => return,
            Err(millpond::Error::Aborted { .. }) => {}
            Err(error) => println!("error {error:?}"),
        }
    }
}

fn new_job(queue: &str, in_transaction: bool, rng: &mut fastrand::Rng) -> (u64, impl Fn() -> NewJob + Send + 'static) {
    let number = rng.u64(..);
    let fate = match (queue, rng.u8(..10)) {
        ("flaky", 0) => Fate::Fails,
        ("flaky" | "grouped", 1..5) => Fate::FailsOnce,
        _ => Fate::Done,
    };
    let micros = [0, 0, 300, 3_000, 15_000][rng.usize(..5)];
    let work = Work { number, in_transaction, fate, micros };
    let group = (queue == "grouped").then(|| format!("g{}", rng.u64(..GROUPS)));
    let delay = (rng.u8(..8) == 0).then(|| Duration::from_millis(rng.u64(..40)));
    let priority = Priority::new(rng.u8(..10)).unwrap();
    let job = move || {
        let mut job = NewJob::new(work).priority(priority);
        if let Some(group) = &group {
            job = job.group(group.clone());
        }
        if let Some(delay) = delay {
            job = job.delay(delay);
        }
        if fate == Fate::Fails {
            job = job.max_attempts(2);
        }
        job
    };
    (number, job)
}

// --- the parent -------------------------------------------------------------------------------

#[derive(Default)]
struct Heard_ {
    acknowledged: BTreeSet<u64>,
    done: BTreeSet<u64>,
    /// What was known to be done before each run.
    done_before: Vec<BTreeSet<u64>>,
}

impl Heard_ {
    fn hear(&mut self, line: &str, before: u64) {
        // The test harness may write before it on the same line.
        let Some((what, id)) = line.rsplit_once(' ').and_then(|(what, id)| Some((what, id.parse::<u64>().ok()?)))
        else {
            assert!(!line.contains("error"), "{line}");
            return;
        };
        if what.ends_with("ack") {
            assert!(self.acknowledged.insert(id), "id {id} was given twice");
            assert!(id > before, "id {id} was given in a later run than {before}");
        } else if what.ends_with("done") {
            self.done.insert(id);
        }
    }
}

#[test]
fn nothing_is_lost_or_done_twice_when_the_process_is_killed() {
    let (kills, seed) = (number("KILLS", 50), number("KILL_SEED", 1));
    println!("KILL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("queue.redb"), dir.path().join("starts.log"));
    let run = |seed: u64, producers: u64, stop_after: u64| {
        let text = |path: &Path| path.display().to_string();
        let settings = [
            ("FILE", text(&file)),
            ("LOG", text(&log)),
            ("SEED", seed.to_string()),
            ("PRODUCERS", producers.to_string()),
            ("STOP_AFTER", stop_after.to_string()),
        ];
        child::start("load", &settings)
    };
    let mut heard = Heard_::default();
    for kill in 0..kills {
        heard.done_before.push(heard.done.clone());
        let before = heard.acknowledged.last().copied().unwrap_or(0);
        // Every fourth run is stopping in order when it is killed, or has just ended.
        let stop_after = if rng.u8(..4) == 0 { rng.u64(..60) } else { 60_000 };
        let mut child = run(seed ^ (kill << 16), 6, stop_after);
        // From its first acknowledgement on; some die in the opening instead.
        if rng.u8(..8) > 0 {
            while let Some(line) = child.next() {
                heard.hear(&line, before);
                if line.contains("ack") {
                    break;
                }
            }
        }
        thread::sleep(Duration::from_millis(rng.u64(..90)));
        child.kill();
        child.end().0.iter().for_each(|line| heard.hear(line, before));
    }
    heard.done_before.push(heard.done.clone());
    let (lines, status) = run(0, 0, 0).end();
    assert!(lines.iter().any(|line| line.ends_with("drained")) && status.success(), "{status}: {lines:?}");
    check_starts(&std::fs::read_to_string(&log).unwrap(), &heard, &check_file(&file, &heard));
    println!("{} acknowledged, {} known to be done", heard.acknowledged.len(), heard.done.len());
}

/// Every acknowledged job has ended as it should, and every row is there as often as it should.
fn check_file(file: &Path, heard: &Heard_) -> HashMap<u64, Fate> {
    let pond = Millpond::open(file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    let mut jobs: BTreeMap<u64, JobInfo> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = pond.jobs(&JobFilter::new(), cursor, 1_000).unwrap();
        jobs.extend(page.jobs.into_iter().map(|job| (job.id.get(), job)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    for id in &heard.acknowledged {
        assert!(jobs.contains_key(id), "job {id} was acknowledged and is lost");
    }
    let read = pond.begin_read().unwrap();
    let rows = |table: TableDefinition<u64, u64>| -> BTreeMap<u64, u64> {
        let table = read.open_table(table).unwrap();
        table.iter().unwrap().map(|row| row.unwrap()).map(|(row, count)| (row.value(), count.value())).collect()
    };
    let (mut done, mut written) = (rows(DONE), rows(WRITTEN));
    let mut fates = HashMap::new();
    for (id, job) in &jobs {
        let work: Work = job.payload.decode().unwrap();
        fates.insert(*id, work.fate);
        let expected = if work.fate == Fate::Fails { State::Dead } else { State::Completed };
        assert_eq!(job.state, expected, "{job:?}");
        let times = if expected == State::Completed { Some(1) } else { None };
        assert_eq!(done.remove(id), times, "how often job {id} wrote with its completion");
        if work.in_transaction {
            assert_eq!(written.remove(&work.number), Some(1), "the row of job {id}'s transaction");
        }
    }
    assert_eq!((done, written), (BTreeMap::new(), BTreeMap::new()), "rows without their jobs");
    fates
}

/// Groups started in order; nothing started twice in one run unless it failed; nothing that was known
/// to be done started again.
fn check_starts(log: &str, heard: &Heard_, fates: &HashMap<u64, Fate>) {
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut attempts: HashMap<u64, u64> = HashMap::new();
    let mut in_this_run: BTreeSet<u64> = BTreeSet::new();
    // Runs that died before they could say so do not count: they started nothing.
    let mut known_done = BTreeSet::new();
    let mut run = 0;
    for line in log.lines() {
        if line == "run" {
            known_done = heard.done_before.get(run).cloned().unwrap_or_default();
            run += 1;
            in_this_run.clear();
            continue;
        }
        let mut words = line.split(' ').skip(1);
        let mut word = || words.next().expect("a whole line");
        let (id, group, attempt) = (word().parse::<u64>().unwrap(), word().to_owned(), word().parse::<u64>().unwrap());
        assert!(!known_done.contains(&id), "job {id} was done, and started again");
        let again = !in_this_run.insert(id);
        assert!(!again || fates[&id] != Fate::Done, "job {id} started twice in one run");
        let before = attempts.insert(id, attempt).unwrap_or(0);
        assert!(attempt >= before, "job {id}: attempt {attempt} after {before}");
        if group != "-" {
            let before = last.insert(group.clone(), id).unwrap_or(0);
            assert!(id >= before, "group {group}: job {id} started after {before}");
        }
    }
}
