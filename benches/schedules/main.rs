//! What schedules cost: storing them, opening a file that has them, waiting for them, firing them.
//!
//! ```text
//! cargo bench --bench schedules
//! ```

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;

use std::path::Path;
use std::time::{Duration, Instant};

use millpond::testing::{ManualClock, drain};
use millpond::{Every, Millpond, NewJob, Overlap, Schedule};
use tokio::runtime::Runtime;

const SCHEDULES: u64 = 10_000;
/// Schedules in one transaction.
const AT_ONCE: u64 = 1_000;
const HOUR: Duration = Duration::from_secs(3_600);
/// How long the idle queue is watched.
const IDLE: Duration = Duration::from_secs(60);

fn open(path: &Path, clock: &ManualClock) -> Millpond {
    Millpond::builder().clock(clock.clone()).open(path).expect("a queue")
}

fn hourly() -> Schedule {
    Schedule::new(Every::new(HOUR).aligned(), "bench", NewJob::raw("noop", vec![7; 128])).overlap(Overlap::Allow)
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = run();
    println!("{what:<56} {:>10.1?}", begun.elapsed());
    result
}

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    let _in_runtime = runtime.enter();
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let (path, clock) = (dir.path().join("pond.redb"), ManualClock::new());
    let close = |pond: Millpond| runtime.block_on(pond.shutdown(HOUR)).expect("it closes");

    close(open(&path, &clock));
    let pond = timed("open a file without schedules", || open(&path, &clock));
    timed("store 10,000 schedules, 1,000 in a transaction", || {
        for from in (0..SCHEDULES).step_by(AT_ONCE as usize) {
            let stored = pond.transaction(move |tx| {
                for n in from..from + AT_ONCE {
                    tx.schedule(&format!("schedule-{n}"), hourly())?;
                }
                Ok(())
            });
            stored.wait().expect("they are stored");
        }
    });
    timed("store one of them again, unchanged", || pond.schedule("schedule-7", hourly()).wait()).expect("it is");
    close(pond);
    let pond = timed("open the file with 10,000 schedules", || open(&path, &clock));

    let (begun, commits) = (kernel::cpu_ms(), pond.metrics().commits_total);
    std::thread::sleep(IDLE);
    let (ended, commits) = (kernel::cpu_ms(), pond.metrics().commits_total - commits);
    let used = ended.zip(begun).map(|(ended, begun)| ended - begun);
    println!("idle for {IDLE:?} with 10,000 schedules: {used:?} ms of processor time, {commits} commits");

    clock.advance(HOUR);
    let (begun, commits) = (Instant::now(), pond.metrics().commits_total);
    runtime.block_on(drain(&pond));
    let took = begun.elapsed();
    assert_eq!(pond.queue("bench").expect("a good name").counts().pending, SCHEDULES);
    let rate = SCHEDULES as f64 / took.as_secs_f64();
    let commits = pond.metrics().commits_total - commits;
    println!("fire 10,000 schedules that are due at once: {took:?}, {rate:.0}/s, {commits} commits");
    close(pond);
}
