//! The disk fails at its N-th operation, once or until it is repaired, for every N: callers are told at
//! once, nothing acknowledged is lost, and the queue heals without being reopened.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond_testkit::{Failure, Fault, Image, Op, SimDisk};

use crate::engine::clock_at;
use crate::observations::{Asked, Observations, Refusal};
use crate::raw;
use crate::record::{Size, Take, record, resolve};
use crate::workload::{ROWS, Workload};
use crate::{be_quiet_about_panics_on_purpose, number};

/// The number of steps before, unless `CRASH_STEPS` says otherwise: each operation of these steps takes a run of its own.
const STEPS_DEFAULT: u64 = 10;
/// The number of steps while the disk keeps failing.
const STEPS_FAILING: usize = 3;

/// How long a failure lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Once,
    UntilRepaired,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    seed: u64,
    ops: &'static [Op],
    failure: Failure,
    lasts: Lasts,
    after: u64,
}

impl Case {
    fn fault(self) -> Fault {
        let times = if self.lasts == Lasts::Once { 1 } else { u64::MAX };
        Fault { ops: self.ops, failure: self.failure, after: self.after, times }
    }
}

/// A file with jobs in many states, as a crash left it.
fn found(seed: u64) -> (Image, ManualClock) {
    let epochs = record(seed, Size { epochs: 2, steps: 25 }).unwrap();
    (epochs[1].found.clone(), clock_at(millpond::Clock::wall(&epochs[0].clock)))
}

/// Runs the workload on a disk that fails. Returns whether the disk failed, or what is wrong.
fn run(case: Case, found: &Image, clock: &ManualClock) -> Result<bool, String> {
    let clock = clock_at(millpond::Clock::wall(clock));
    let disk = SimDisk::holding(found.clone()).recorded();
    disk.fail(case.fault());
    let opened = Workload::open(case.seed, &disk, &clock, 1 << 32);
    let mut work = match opened {
        Ok(work) => work,
        Err(_) => {
            disk.repair();
            Workload::open(case.seed, &disk, &clock, 1 << 32).map_err(|error| format!("it does not open: {error}"))?
        }
    }
    .on_failing();
    work.run(number("CRASH_STEPS", STEPS_DEFAULT) as usize);
    if disk.failed() > 0 && case.lasts == Lasts::UntilRepaired {
        work.go_on_with(STEPS_FAILING);
        disk.repair();
    }
    let failed = disk.failed() > 0;
    disk.repair();
    for _ in 0..3 {
        work.wait(Duration::from_secs(10));
    }
    if work.is_degraded() {
        return Err("it does not heal".into());
    }
    work.go_on_with(STEPS_FAILING);
    if work.is_degraded() {
        return Err("it was healed and is degraded again".into());
    }
    let drained = work.drain();
    let verify = work.engine().pond.verify();
    let verified = work.engine().call(verify).map_err(|error| error.to_string())?;
    let observations = work.observations.clone();
    work.cut_off();
    if !verified.is_ok() {
        return Err(format!("verify: {:?}", verified.problems));
    }
    let take = Take {
        found: found.clone(),
        log: disk.take_log(),
        observed: observations.take_observed(),
        observations,
        max_id: 0,
    };
    let (_, states) = resolve(&take)?;
    let last = &states.last().expect("the first").dump;
    if !drained {
        return Err(format!("jobs {:?} never end", last.live));
    }
    every_answer_was_true(&take.observations, last)?;
    Ok(failed)
}

fn every_answer_was_true(observations: &Observations, last: &raw::Dump) -> Result<(), String> {
    if let Some(id) = observations.again().first() {
        return Err(format!("job {id} was run again after it was done"));
    }
    let ran: BTreeMap<u64, u64> = observations.runs().into_iter().map(|run| (run.tag, run.id)).collect();
    let (released, expiring) = (observations.released(), observations.expiring());
    let rows = redb::TableHandle::name(&ROWS).to_owned();
    for asked in observations.all() {
        let Asked { answer, .. } = &asked;
        // It is not known whether a job that is allowed to expire has run.
        let unknown = |tag: &&u64| expiring.contains(tag) && !ran.contains_key(tag);
        let tags: Vec<u64> = asked.tags.iter().filter(|tag| !unknown(tag)).copied().collect();
        let written = asked.rows.iter().filter(|&&row| last.rows.contains_key(&(rows.clone(), row))).count();
        let started = tags.iter().filter(|tag| ran.contains_key(tag)).count();
        let wrong = |what: &str| Err(format!("{what}: {asked:?}, {written} rows, {started} jobs"));
        match answer {
            Some(Ok(ids)) => {
                let cancelled = ids.iter().zip(&asked.tags).filter(|pair| !unknown(&pair.1));
                let cancelled = cancelled.filter(|(id, tag)| released.contains(id) && !ran.contains_key(tag));
                if written != asked.rows.len() || started + cancelled.count() != tags.len() {
                    return wrong("it was acknowledged and is lost");
                }
            }
            Some(Err(Refusal::No(_))) if written + started > 0 => return wrong("it was refused and is there"),
            Some(Err(Refusal::No(_))) => {}
            Some(Err(Refusal::OutcomeUnknown)) => {
                let (all, there) = (asked.rows.len() + tags.len(), written + started);
                if there != 0 && there != all {
                    return wrong("only a part of it is there");
                }
            }
            None => return wrong("it was never answered"),
        }
    }
    Ok(())
}

/// Tries every N until it is greater than the number of operations.
fn at_every_operation(ops: &'static [Op], failure: Failure, lasts: Lasts) {
    be_quiet_about_panics_on_purpose();
    let seed = number("CRASH_SEED", 3);
    let (found, clock) = found(seed);
    if let Ok(after) = std::env::var("CRASH_AFTER") {
        let after = after.parse().expect("a number");
        run(Case { seed, ops, failure, lasts, after }, &found, &clock).unwrap();
        return;
    }
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let wrong: Mutex<Option<(Case, String)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let after = next.fetch_add(1, Ordering::Relaxed);
                    let case = Case { seed, ops, failure, lasts, after };
                    let done = catch_unwind(AssertUnwindSafe(|| run(case, &found, &clock)));
                    let done = done.unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        Err(format!("a panic: {}", text.unwrap_or_default()))
                    });
                    match done {
                        Ok(true) if wrong.lock().unwrap().is_none() => failures.fetch_add(1, Ordering::Relaxed),
                        Ok(_) => return,
                        Err(what) => {
                            wrong.lock().unwrap().get_or_insert((case, what));
                            return;
                        }
                    };
                }
            });
        }
    });
    if let Some((case, what)) = wrong.into_inner().unwrap() {
        panic!("CRASH_SEED={seed} CRASH_AFTER={} cargo test --test crash, this test: {case:?}: {what}", case.after);
    }
    let failures = failures.into_inner();
    println!("{failures} operations failed, {ops:?} {failure:?} {lasts:?}");
    assert!(failures > 10, "only {failures}");
}

#[test]
fn it_heals_from_any_operation_that_fails_once() {
    at_every_operation(&Op::ALL, Failure::Io, Lasts::Once);
}

#[test]
fn it_heals_when_a_disk_that_failed_is_mended() {
    at_every_operation(&Op::ALL, Failure::Io, Lasts::UntilRepaired);
}

#[test]
fn it_heals_when_a_full_disk_has_room_again() {
    at_every_operation(Fault::FULL.ops, Failure::NoSpace, Lasts::UntilRepaired);
}

#[test]
fn it_heals_from_one_write_that_found_no_room() {
    at_every_operation(Fault::FULL.ops, Failure::NoSpace, Lasts::Once);
}

#[test]
fn it_heals_from_one_sync_that_fails() {
    at_every_operation(&[Op::Sync], Failure::Io, Lasts::Once);
}
