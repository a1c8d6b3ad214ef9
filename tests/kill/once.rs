//! A job with at most one run is called at most once, however often the process dies; and every run of a job that
//! runs again has a new run number.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::{FailureKind, Job, JobFilter, Keep, Kind, Millpond, NewJob, QueueSettings, Retention, State};
use serde::{Deserialize, Serialize};

use crate::child::{self, setting};

#[derive(Serialize, Deserialize)]
struct Work {
    millis: u64,
    /// Whether it kills the process.
    dies: bool,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

// --- the child --------------------------------------------------------------------------------

/// Runs the waiting jobs until it dies or no job is left. Prints each call of a handler.
pub fn child() {
    let path: String = setting("FILE");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(path).unwrap();
        pond.worker("q")
            .concurrency(4)
            .handle(|job: Job<Work>| async move {
                println!("called {} {}", job.id(), job.run());
                tokio::time::sleep(Duration::from_millis(job.millis)).await;
                if job.dies {
                    std::process::abort();
                }
                Ok(())
            })
            .start()
            .unwrap();
        while pond.queue("q").unwrap().counts().unfinished() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pond.shutdown(Duration::from_secs(1)).await.unwrap();
        println!("drained");
    });
}

// --- the parent -------------------------------------------------------------------------------

/// The numbers of the jobs whose handlers kill: the first of them, and the distance to the next.
const DEADLY_FIRST: u64 = 2;
const DEADLY_EVERY: u64 = 5;

fn is_deadly(n: u64) -> bool {
    n % DEADLY_EVERY == DEADLY_FIRST
}

/// Reads two numbers with a hyphen between them.
fn run_number(text: &str) -> (u64, u64) {
    let (opening, start) = text.split_once('-').unwrap();
    (opening.parse().unwrap(), start.parse().unwrap())
}

#[test]
fn a_job_with_at_most_one_run_is_called_at_most_once_whatever_kills_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let pond = Millpond::open(&file).unwrap();
    let keep = Retention::default().completed(Keep::FOREVER);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(keep)).wait().unwrap();
    let once = |n: u64| {
        let deadly = Work { millis: [0, 30][(n % 2) as usize], dies: true };
        let harmless = Work { millis: [0, 5, 60][(n % 3) as usize], dies: false };
        NewJob::new(if is_deadly(n) { deadly } else { harmless }).at_most_once()
    };
    let ids = pond.enqueue_many("q", (0..20).map(once)).wait().unwrap();
    // Other jobs, which run again until they have ended.
    let others = (0..20).map(|n| NewJob::new(Work { millis: [0, 5, 60][n % 3], dies: false }).max_attempts(1));
    pond.enqueue_many("q", others).wait().unwrap();
    pond.shutdown(Duration::ZERO).wait().unwrap();
    drop(pond);

    let mut calls: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut deaths = 0;
    loop {
        let (lines, _) = child::start("once", &[("FILE", file.display().to_string())]).end();
        for line in &lines {
            if let Some(said) = line.split("called ").nth(1) {
                let (id, run) = said.split_once(' ').unwrap();
                calls.entry(id.to_owned()).or_default().push(run_number(run));
            }
        }
        if lines.iter().any(|line| line.ends_with("drained")) {
            break;
        }
        deaths += 1;
        assert!(deaths <= (0..20).filter(|n| is_deadly(*n)).count(), "each of the deadly jobs kills at most once");
    }
    assert!(deaths > 1);
    let pond = Millpond::open(&file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    for (n, id) in (0..).zip(&ids) {
        let info = pond.job(*id).unwrap();
        let called = calls.get(&id.to_string()).map_or(0, Vec::len);
        assert!(called <= 1, "job {id} was called {called} times: {info:?}");
        match info.state {
            State::Completed => assert!(!is_deadly(n) && called == 1, "{info:?}"),
            State::Dead => assert_eq!(info.errors.last().unwrap().kind, FailureKind::Crash, "{info:?}"),
            _ => panic!("{info:?}"),
        }
    }
    let all = pond.jobs(&JobFilter::new().state(State::Completed), None, 1_000).unwrap().jobs;
    assert_eq!(all.iter().filter(|job| !job.at_most_once).count(), 20, "the others have all completed");
    for (id, runs) in calls {
        assert!(runs.windows(2).all(|pair| pair[0] < pair[1]), "job {id}: {runs:?}");
    }
    println!("{deaths} deaths");
}
