//! A shutdown is no crash, even if a kill follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use millpond::{Capacity, Context, Error, Job, JobFilter, Millpond, NewJob, Outcome, QueueSettings, State, WhenFull};

use redb::{ReadableTable, TableDefinition};

use crate::all_jobs::all_jobs;
use crate::child::{self, number, setting};

/// How many times a process is told to stop and then killed.
const TERMS: u64 = 12;
/// The number of jobs whose handlers do not return.
const ENDLESS: u64 = 4;
/// A row for each job that is done.
const DONE: TableDefinition<u64, ()> = TableDefinition::new("done");

#[test]
fn an_orderly_stop_uses_no_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let pond = Millpond::open(&file).unwrap();
        let id = pond.enqueue("q", NewJob::raw("k", "").max_attempts(2)).await.unwrap();
        drop(pond);
        for stop in 0..6 {
            let pond = Millpond::open(&file).unwrap();
            let before = pond.job(id).unwrap();
            assert_eq!((before.state, before.attempts, before.errors.len()), (State::Pending, 0, 0), "stop {stop}");
            let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
            let never_ends = move |job: Job<bytes::Bytes>| {
                started.send(job.attempt()).unwrap();
                std::future::pending::<millpond::Handled<Outcome>>()
            };
            pond.worker("q").handle_raw("k", never_ends).start().unwrap();
            assert_eq!(starts.recv().await, Some(1));
            if stop % 2 == 0 {
                // Long enough for its start mark to be in the file.
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if stop < 3 {
                pond.shutdown(Duration::ZERO).await.unwrap();
            }
        }
    });
}

/// Many tasks make calls during a shutdown: each call is answered, acknowledged jobs are stored, and refused ones are
/// not.
#[test]
fn every_call_is_answered_when_it_stops() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    for round in 0..40u64 {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("queue.redb");
        let (acknowledged, refused) = runtime.block_on(calls_while_it_stops(&file, round));
        let pond = runtime.block_on(async { Millpond::open(&file).unwrap() });
        let there: std::collections::BTreeSet<u64> =
            pond.jobs(&JobFilter::new(), None, 1_000).unwrap().jobs.iter().map(|job| job.id.get()).collect();
        assert_eq!(there, acknowledged, "round {round}, {refused} refused");
        assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    }
}

async fn calls_while_it_stops(file: &std::path::Path, round: u64) -> (std::collections::BTreeSet<u64>, usize) {
    let pond = Millpond::open(file).unwrap();
    let full = QueueSettings::default().capacity(Capacity::jobs(5)).when_full(WhenFull::Wait);
    pond.queue("full").unwrap().configure(full).await.unwrap();
    let calls: Vec<_> = (0..120u64)
        .map(|n| {
            let pond = pond.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(n * 50)).await;
                let job = || NewJob::raw("k", "");
                match n % 3 {
                    0 => pond.enqueue("full", job()).await,
                    1 => pond.enqueue("q", job()).await,
                    _ => pond.transaction(move |tx| Ok(tx.enqueue("q", job())?)).await,
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_micros(round * 200)).await;
    let stops = [pond.shutdown(Duration::ZERO), pond.shutdown(Duration::from_millis(50))];
    let answers = async {
        for stop in stops {
            stop.await.unwrap();
        }
        let (mut acknowledged, mut refused) = (std::collections::BTreeSet::new(), 0);
        for call in calls {
            match call.await.unwrap() {
                Ok(id) => assert!(acknowledged.insert(id.id.get())),
                Err(Error::Closed) => refused += 1,
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        (acknowledged, refused)
    };
    let answers = tokio::time::timeout(Duration::from_secs(10), answers).await.expect("a call was never answered");
    assert!(matches!(pond.enqueue("q", NewJob::raw("k", "")).await, Err(Error::Closed)));
    answers
}

// --- told to stop, then killed ------------------------------------------------------------------

/// Runs until it is told to stop: some jobs end, others never do.
pub fn child() {
    let path: String = setting("FILE");
    let deadline = Duration::from_millis(setting("DEADLINE"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(path).unwrap();
        let stopping = pond.clone();
        child::on_term(async move {
            stopping.shutdown(deadline).await.unwrap();
            println!("closed");
            std::future::pending::<()>().await;
        });
        let mut events = pond.events();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Ok(millpond::Event::Completed { id, .. }) = event {
                    println!("done {id}");
                }
            }
        });
        let starts = |job: Job<bytes::Bytes>| println!("start {}", job.id());
        let endless = move |job: Job<bytes::Bytes>| {
            starts(job);
            std::future::pending::<millpond::Handled<Outcome>>()
        };
        let short = move |job: Job<bytes::Bytes>, ctx: Context| {
            let id = job.id().get();
            starts(job);
            ctx.on_complete(move |tx| match tx.open_table(DONE)?.insert(id, ())? {
                None => Ok(()),
                Some(_) => panic!("job {id} is done twice"),
            });
            async { Ok(()) }
        };
        pond.worker("endless").handle_raw("endless", endless).start().unwrap();
        pond.worker("short").concurrency(2).handle_raw("short", short).start().unwrap();
        loop {
            match pond.enqueue("short", NewJob::raw("short", "")).await {
                Ok(id) => println!("ack {id}"),
                Err(Error::Closed) => std::future::pending().await,
                Err(error) => println!("error {error:?}"),
            }
        }
    });
}

#[derive(Default)]
struct Told {
    acknowledged: BTreeSet<u64>,
    done: BTreeSet<u64>,
    closed: bool,
    started: BTreeSet<u64>,
}

impl Told {
    fn read_line(&mut self, line: &str) {
        assert!(!line.contains("error"), "{line}");
        self.closed |= line.ends_with("closed");
        let words = line.rsplit_once(' ').and_then(|(what, id)| Some((what, id.parse::<u64>().ok()?)));
        match words {
            Some((what, id)) if what.ends_with("ack") => drop(self.acknowledged.insert(id)),
            Some((what, id)) if what.ends_with("done") => drop(self.done.insert(id)),
            Some((what, id)) if what.ends_with("start") => {
                assert!(!self.done.contains(&id), "job {id} was done, and started again");
                self.started.insert(id);
            }
            _ => {}
        }
    }
}

/// Whenever the kill comes, no job is lost, no job that was reported as done runs again, and a job that the shutdown took
/// back has used no attempt.
#[test]
fn a_kill_in_the_middle_of_a_stop_loses_nothing() {
    let seed = number("KILL_SEED", 1);
    println!("KILL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let pond = Millpond::open(&file).unwrap();
    let endless = (0..ENDLESS).map(|_| NewJob::raw("endless", "").max_attempts(1_000));
    pond.enqueue_many("endless", endless).wait().unwrap();
    drop(pond);
    let mut told = Told::default();
    let (mut attempts, mut closed) = (attempts_of_the_endless(&file, &told), 0);
    for term in 0..TERMS {
        (told.closed, told.started) = (false, BTreeSet::new());
        let deadline = rng.u64(..30);
        let settings = [("FILE", file.display().to_string()), ("DEADLINE", deadline.to_string())];
        let mut child = child::start("stop", &settings);
        while !(1..=ENDLESS).all(|id| told.started.contains(&id)) {
            told.read_line(&child.next().expect("it works"));
        }
        // With or without their start marks in the file.
        thread::sleep(Duration::from_millis(rng.u64(..60)));
        child.terminate();
        // The stop takes its deadline, and half a second for handlers that do not stop.
        match term % 3 {
            0 => {
                while !told.closed {
                    told.read_line(&child.next().expect("it closes"));
                }
            }
            1 => thread::sleep(Duration::from_millis(deadline + 490 + rng.u64(..25))),
            _ => thread::sleep(Duration::from_millis(rng.u64(..550))),
        }
        child.kill();
        child.end().0.iter().for_each(|line| told.read_line(line));
        closed += u64::from(told.closed);
        let after = attempts_of_the_endless(&file, &told);
        for (id, attempts_before) in &attempts {
            let may_be = if told.closed { 0 } else { 1 };
            let used = after[id] - attempts_before;
            assert!(used <= may_be, "stop {term}, closed: {}: job {id} has used {used} attempts", told.closed);
        }
        attempts = after;
    }
    assert!(closed > 0 && closed < TERMS, "{closed} of {TERMS} stops were over when the kill came");
    println!("{TERMS} stops, {closed} of them over before the kill; {} acknowledged", told.acknowledged.len());
}

fn attempts_of_the_endless(file: &std::path::Path, told: &Told) -> BTreeMap<u64, u32> {
    let pond = Millpond::open(file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    let there: BTreeMap<u64, _> = all_jobs(&pond).into_iter().map(|job| (job.id.get(), job)).collect();
    let read = pond.begin_read().unwrap();
    let done: BTreeSet<u64> = match read.open_table(DONE) {
        Ok(table) => table.iter().unwrap().map(|row| row.unwrap().0.value()).collect(),
        Err(_) => BTreeSet::new(),
    };
    for id in told.acknowledged.iter().chain(&told.done) {
        assert!(there.contains_key(id) != done.contains(id), "job {id} is lost, or done and there");
    }
    assert!(told.done.is_subset(&done), "a job that was reported as done is not");
    (1..=ENDLESS).map(|id| (id, there[&id].attempts)).collect()
}
