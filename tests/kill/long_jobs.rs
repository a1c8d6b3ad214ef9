//! The process dies while long jobs run: a handler that kills the process is found all the same, the long jobs
//! start again within seconds, and jobs of other queues at once.

use std::path::Path;
use std::time::{Duration, Instant};

use millpond::{Job, JobFilter, JobInfo, Kind, Millpond, NewJob, State};
use redb::{ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::child::{self, setting};

#[derive(Serialize, Deserialize)]
struct Long {
    n: u64,
    /// How long it runs before it kills the process.
    kills_after_ms: Option<u64>,
}

impl Kind for Long {
    const KIND: &'static str = "long";
}

#[derive(Serialize, Deserialize)]
struct Mail;

impl Kind for Mail {
    const KIND: &'static str = "mail";
}

/// Both workers' jobs start within these times after the file was opened. It takes much less on an idle machine: the
/// scheduler's own tests, which use a manual clock, check the exact bounds.
const MAIL_WITHIN: Duration = Duration::from_secs(5);
const ALL_WITHIN: Duration = Duration::from_secs(12);

// --- the child --------------------------------------------------------------------------------

/// Prints what starts and when, until as many jobs are dead as its settings say; then continues until it is killed or
/// everything has started.
pub fn child() {
    let (path, dead, long): (String, u64, usize) = (setting("FILE"), setting("DEAD"), setting("LONG"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(path).unwrap();
        let opened = Instant::now();
        let started = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = started.clone();
        pond.worker("long")
            .concurrency(64)
            .no_timeout()
            .handle(move |job: Job<Long>| {
                println!("started {} {}", job.n, opened.elapsed().as_millis());
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                async move {
                    if let Some(after) = job.kills_after_ms {
                        tokio::time::sleep(Duration::from_millis(after)).await;
                        std::process::abort();
                    }
                    std::future::pending::<()>().await;
                    Ok(())
                }
            })
            .start()
            .unwrap();
        pond.worker("mail")
            .handle(move |_: Job<Mail>| {
                println!("mail {}", opened.elapsed().as_millis());
                async { Ok(()) }
            })
            .start()
            .unwrap();
        pond.enqueue("mail", Mail).await.unwrap();
        let counts = |queue: &str| pond.queue(queue).unwrap().counts();
        let is_over = || {
            let all = started.load(std::sync::atomic::Ordering::SeqCst) >= long;
            counts("long").dead >= dead && all && counts("mail").unfinished() == 0
        };
        while !is_over() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        while marks(&pond) < counts("long").running as usize {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("all");
        if setting::<bool>("STAYS") {
            std::future::pending::<()>().await;
        }
        pond.shutdown(Duration::ZERO).await.unwrap();
        println!("closed");
    });
}

/// The number of jobs with a start mark, which a crash would count.
fn marks(pond: &Millpond) -> usize {
    const MARKS: TableDefinition<u64, &[u8]> = TableDefinition::new("millpond/running");
    pond.begin_read().unwrap().open_table(MARKS).unwrap().len().unwrap() as usize
}

// --- the parent -------------------------------------------------------------------------------

fn fill(file: &Path, long: u64, attempts: u32, killers: &[(u64, u32)]) {
    let pond = Millpond::open(file).unwrap();
    let innocents = (0..long).map(|n| NewJob::new(Long { n, kills_after_ms: None }).max_attempts(attempts));
    pond.enqueue_many("long", innocents).wait().unwrap();
    let killers = (100..).zip(killers).map(|(n, (after, max))| {
        let (job, max) = (Long { n, kills_after_ms: Some(*after) }, *max);
        NewJob::new(job).max_attempts(max)
    });
    pond.enqueue_many("long", killers).wait().unwrap();
    pond.shutdown(Duration::ZERO).wait().unwrap();
}

fn settings(file: &Path, dead: usize, long: u64, stays: bool) -> [(&'static str, String); 4] {
    let file = file.display().to_string();
    [("FILE", file), ("DEAD", dead.to_string()), ("LONG", long.to_string()), ("STAYS", stays.to_string())]
}

fn jobs_in(file: &Path) -> Vec<JobInfo> {
    let pond = Millpond::open(file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    pond.jobs(&JobFilter::new().queue("long"), None, 1_000).unwrap().jobs
}

/// The milliseconds in a line.
fn millis(line: &str) -> Duration {
    Duration::from_millis(line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn check_times(lines: &[String]) {
    for line in lines {
        let most = if line.contains("mail ") { MAIL_WITHIN } else { ALL_WITHIN };
        if line.contains("mail ") || line.contains("started ") {
            assert!(millis(line) <= most, "{line}: {lines:#?}");
        }
    }
}

/// Runs until the killers are dead. Returns how many deaths that has taken.
fn until_killers_are_dead(long: u64, killers: &[(u64, u32)]) -> u32 {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    fill(&file, long, 1, killers);
    let mut deaths = 0;
    let deaths_max: u32 = killers.iter().map(|(_, max)| max + 2).sum();
    loop {
        let (lines, _) = child::start("long-jobs", &settings(&file, killers.len(), long, false)).end();
        check_times(&lines);
        if lines.iter().any(|line| line.ends_with("closed")) {
            break;
        }
        deaths += 1;
        assert!(deaths <= deaths_max, "{killers:?} have killed the process {deaths} times: {:#?}", jobs_in(&file));
    }
    let dead = jobs_in(&file).into_iter().filter(|job| job.state == State::Dead);
    let expected: Vec<u64> = (0..killers.len() as u64).map(|n| long + n + 1).collect();
    assert_eq!(dead.map(|job| job.id.get()).collect::<Vec<_>>(), expected, "after {deaths} deaths");
    deaths
}

#[test]
fn twenty_long_jobs_and_one_that_kills_the_process_early() {
    for (after, max) in [(0, 1), (0, 3), (5, 1), (150, 1)] {
        let deaths = until_killers_are_dead(20, &[(after, max)]);
        println!("{deaths} deaths by a job that kills after {after} ms, with {max} attempts");
    }
}

#[test]
fn twenty_long_jobs_and_several_that_kill_the_process_early() {
    until_killers_are_dead(20, &[(0, 1), (20, 2), (0, 1)]);
}

#[test]
fn after_a_kill_beside_twenty_long_jobs_all_start_again_within_seconds() {
    for attempts in [1, 5] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("queue.redb");
        fill(&file, 20, attempts, &[]);
        let mut running = child::start("long-jobs", &settings(&file, 0, 20, true));
        while running.next().is_some_and(|line| !line.ends_with("all")) {}
        running.kill();
        running.end();
        let (lines, _) = child::start("long-jobs", &settings(&file, 0, 20, false)).end();
        assert!(lines.iter().any(|line| line.ends_with("closed")), "{lines:#?}");
        check_times(&lines);
    }
}

#[test]
fn a_long_job_that_is_killed_six_times_holds_up_no_other_queue() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    fill(&file, 1, 20, &[]);
    for _kill in 0..6 {
        let mut running = child::start("long-jobs", &settings(&file, 0, 1, true));
        let mut lines = Vec::new();
        while let Some(line) = running.next().filter(|line| !line.ends_with("all")) {
            lines.push(line);
        }
        running.kill();
        running.end();
        assert!(lines.iter().any(|line| line.contains("mail ")), "{lines:#?}");
        check_times(&lines);
    }
}
