//! A handler that kills the process: its job is a dead letter after at most its attempts and two more deaths, and
//! no job that ran at the same time is.

use std::time::Duration;

use millpond::{Job, JobFilter, JobInfo, Keep, Kind, Millpond, NewJob, QueueSettings, Retention, State};
use serde::{Deserialize, Serialize};

use crate::child::{self, setting};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    Abort,
    Overflow,
    Exit,
}

#[derive(Serialize, Deserialize)]
struct Work {
    /// How it kills the process; `None` for an innocent job.
    dies: Option<Way>,
    millis: u64,
}

impl Kind for Work {
    const KIND: &'static str = "work";
}

const QUEUES: [&str; 2] = ["one", "two"];

// --- the child --------------------------------------------------------------------------------

/// Runs the waiting jobs until it dies or no job is left.
pub fn child() {
    let (path, slots): (String, usize) = (setting("FILE"), setting("SLOTS"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let pond = Millpond::open(path).unwrap();
        for queue in QUEUES {
            pond.worker(queue)
                .concurrency(slots)
                .handle(|job: Job<Work>| async move {
                    tokio::time::sleep(Duration::from_millis(job.millis)).await;
                    match job.dies {
                        None => {}
                        Some(Way::Abort) => std::process::abort(),
                        Some(Way::Exit) => std::process::exit(3),
                        Some(Way::Overflow) => println!("{}", overflow(0)),
                    }
                    Ok(())
                })
                .start()
                .unwrap();
        }
        while QUEUES.iter().any(|queue| pond.queue(queue).unwrap().counts().unfinished() > 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pond.shutdown(Duration::from_secs(1)).await.unwrap();
        println!("drained");
    });
}

#[expect(unconditional_recursion, reason = "it has to overflow the stack")]
fn overflow(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    overflow(depth + 1) + page[depth as usize % 512]
}

// --- the parent -------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    slots: usize,
    max: u32,
    millis: u64,
    poisons: usize,
    /// Whether each is in the middle of a group of innocent jobs.
    grouped: bool,
}

const CASE: Case = Case { way: Way::Abort, slots: 8, max: 3, millis: 0, poisons: 1, grouped: false };

/// Enqueues innocent jobs before, between and after the poisons, in both queues, with one attempt each.
fn fill(pond: &Millpond, case: Case) -> Vec<u64> {
    let mut poisons = Vec::new();
    for queue in QUEUES {
        let keep = Retention::default().completed(Keep::FOREVER);
        pond.queue(queue).unwrap().configure(QueueSettings::default().retention(keep)).wait().unwrap();
        let innocents = || (0..6).map(|n| NewJob::new(Work { dies: None, millis: [0, 5, 40][n % 3] }).max_attempts(1));
        pond.enqueue_many(queue, innocents()).wait().unwrap();
        if queue == QUEUES[0] {
            for n in 0..case.poisons {
                let poison = NewJob::new(Work { dies: Some(case.way), millis: case.millis }).max_attempts(case.max);
                let jobs: Vec<NewJob> = match case.grouped {
                    false => vec![poison],
                    true => {
                        let innocent = || NewJob::new(Work { dies: None, millis: 5 }).max_attempts(1);
                        let group = format!("g{n}");
                        [innocent(), poison, innocent()].map(|job| job.group(group.clone())).into()
                    }
                };
                let its_place = jobs.len() / 2;
                let ids = pond.enqueue_many(queue, jobs).wait().unwrap();
                poisons.push(ids[its_place].id.get());
            }
        }
        pond.enqueue_many(queue, innocents()).wait().unwrap();
    }
    poisons
}

fn check(case: Case) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let pond = Millpond::open(&file).unwrap();
    let poisons = fill(&pond, case);
    pond.shutdown(Duration::ZERO).wait().unwrap();
    drop(pond);

    let mut deaths = 0;
    let deaths_max = case.poisons as u32 * (case.max + 2);
    loop {
        let settings = [("FILE", file.display().to_string()), ("SLOTS", case.slots.to_string())];
        let (lines, _) = child::start("poison", &settings).end();
        if lines.iter().any(|line| line.ends_with("drained")) {
            break;
        }
        deaths += 1;
        assert!(deaths <= deaths_max, "{case:?}: it has killed the process {deaths} times: {:#?}", jobs_in(&file));
    }
    let jobs = jobs_in(&file);
    assert_eq!(jobs.len(), 24 + poisons.len() * if case.grouped { 3 } else { 1 });
    for job in jobs {
        let is_poison = poisons.contains(&job.id.get());
        let expected = if is_poison { State::Dead } else { State::Completed };
        assert_eq!(job.state, expected, "{case:?}, after {deaths} deaths: {job:#?}");
        if is_poison {
            assert_eq!(job.attempts, case.max, "{case:?}: {job:#?}");
        }
    }
    println!("{deaths} deaths of at most {deaths_max}: {case:?}");
    assert!(deaths >= case.max, "{case:?}: every attempt is a death");
}

fn jobs_in(file: &std::path::Path) -> Vec<JobInfo> {
    let pond = Millpond::open(file).unwrap();
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
    pond.jobs(&JobFilter::new(), None, 1_000).unwrap().jobs
}

#[test]
fn a_handler_that_aborts_beside_others_is_found() {
    for max in [1, 3, 5] {
        check(Case { max, ..CASE });
    }
}

#[test]
fn a_handler_that_aborts_in_the_only_slot_is_found() {
    for max in [1, 3, 5] {
        check(Case { max, slots: 1, ..CASE });
    }
}

#[test]
fn a_handler_that_aborts_after_a_while_is_found() {
    for (slots, max) in [(1, 1), (1, 3), (8, 1), (8, 5)] {
        check(Case { slots, max, millis: 50, ..CASE });
    }
}

#[test]
fn a_handler_that_overflows_the_stack_is_found() {
    for millis in [0, 50] {
        check(Case { way: Way::Overflow, millis, ..CASE });
    }
}

#[test]
fn a_handler_that_exits_is_found() {
    for millis in [0, 50] {
        check(Case { way: Way::Exit, millis, ..CASE });
    }
}

#[test]
fn two_handlers_that_kill_are_found() {
    for millis in [0, 50] {
        for slots in [1, 8] {
            check(Case { poisons: 2, millis, slots, ..CASE });
        }
    }
}

#[test]
fn several_handlers_that_kill_are_found() {
    for (poisons, slots, millis, max) in [(3, 8, 0, 3), (5, 2, 20, 2), (4, 8, 50, 1)] {
        check(Case { poisons, slots, millis, max, ..CASE });
    }
}

#[test]
fn handlers_that_kill_in_the_middle_of_groups_are_found() {
    for (poisons, slots, millis) in [(1, 8, 0), (1, 1, 50), (3, 8, 0), (3, 2, 20)] {
        check(Case { poisons, slots, millis, grouped: true, ..CASE });
    }
}
