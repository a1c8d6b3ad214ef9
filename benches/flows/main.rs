//! What flows and steps cost beside plain jobs, in turns of one run.
//!
//! ```text
//! cargo bench --bench flows                       # two minutes
//! cargo bench --bench flows -- --blocked 1000000  # also the memory and the opening of a file with so many blocked jobs
//! cargo bench --bench flows -- --only 1           # one line many times, counted from 0, for a profiler
//! ```

#[allow(dead_code, reason = "each bench uses a part of it")]
#[path = "../support/kernel.rs"]
mod kernel;
#[path = "../support/turns.rs"]
mod turns;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Context, Error, FlowDraft, Job, Millpond, NewJob};
use tokio::runtime::Runtime;

use turns::{Done, median};

/// Jobs of one turn.
const JOBS: u64 = 20_200;
const TURNS: usize = 7;
const HOUR: Duration = Duration::from_secs(3_600);
/// Jobs in one call.
const AT_ONCE: u64 = 5_000;

/// What is measured, and how many jobs or steps it makes of `JOBS`.
const WORK: [(&str, u64); 6] = [
    ("plain jobs, 1,000 in a call", JOBS),
    ("flows of 1 parent and 100 children", JOBS),
    ("flows that are chains of 10", JOBS),
    ("steps, concurrency 1", 2_000),
    ("steps, concurrency 10", 10_000),
    ("steps, concurrency 100", 20_000),
];

fn noop() -> NewJob {
    NewJob::raw("noop", vec![7; 128])
}

fn work(pond: &Millpond, concurrency: usize) -> Done {
    let done = Done::default();
    let (plain, stepped) = (done.clone(), done.clone());
    pond.worker("bench")
        .concurrency(concurrency)
        .handle_raw("noop", move |_: Job<Bytes>| {
            let done = plain.clone();
            async move {
                done.one();
                Ok(())
            }
        })
        .handle_raw("steps", move |job: Job<Bytes>, ctx: Context| {
            let done = stepped.clone();
            async move {
                for _ in 0..u32::from(job[0]) {
                    ctx.step("step", || async { Ok::<_, Error>(7) }).await?;
                }
                done.one();
                Ok(())
            }
        })
        .start()
        .expect("a worker");
    done
}

/// 1 parent and 100 children.
fn fan_out(flow: &FlowDraft) {
    let parent = flow.job("bench", noop());
    (0..100).for_each(|_| drop(parent.clone().after(&flow.job("bench", noop()))));
}

/// A chain of 10.
fn chain(flow: &FlowDraft) {
    let first = flow.job("bench", noop());
    (1..10).fold(first, |before, _| flow.job("bench", noop()).after(&before));
}

/// Runs one turn. Returns the jobs or steps per second.
async fn turn(dir: &Path, what: usize) -> f64 {
    let file = dir.join(format!("{what}.redb"));
    let _ = std::fs::remove_file(&file);
    let pond = Millpond::builder().max_running(128).open(&file).expect("a queue");
    let count = WORK[what].1;
    let (begun, jobs) = match what {
        0 => {
            let done = work(&pond, 100);
            let begun = Instant::now();
            for _ in 0..count / 1_010 {
                pond.enqueue_many("bench", (0..1_010).map(|_| noop())).await.expect("they are stored");
            }
            done.reach(count).await;
            (begun, count)
        }
        1 | 2 => {
            let done = work(&pond, 100);
            let (flows, shape): (u64, fn(&FlowDraft)) = if what == 1 { (10, fan_out) } else { (101, chain) };
            let begun = Instant::now();
            for chunk in 0..count / 1_010 {
                pond.transaction(move |tx| {
                    for n in 0..flows {
                        tx.flow(&format!("f{chunk}-{n}"), shape)?;
                    }
                    Ok(())
                })
                .await
                .expect("they are stored");
            }
            done.reach(count).await;
            (begun, count)
        }
        _ => {
            let concurrency = [1, 10, 100][what - 3];
            let done = work(&pond, concurrency);
            let jobs = count / 100;
            let begun = Instant::now();
            let many = (0..jobs).map(|_| NewJob::raw("steps", vec![100]));
            pond.enqueue_many("bench", many).await.expect("they are stored");
            done.reach(jobs).await;
            (begun, count)
        }
    };
    pond.shutdown(HOUR).await.expect("it closes");
    jobs as f64 / begun.elapsed().as_secs_f64()
}

/// Stores many blocked jobs, and opens their file in a process that does nothing else.
fn blocked(runtime: &Runtime, dir: &Path, count: u64) {
    let file = dir.join("blocked.redb");
    runtime.block_on(async {
        let pond = Millpond::open(&file).expect("a queue");
        pond.flow("many", |flow| drop(flow.job("bench", noop()).named("last").after(&flow.signal("go"))))
            .await
            .expect("it is stored");
        for _ in 0..count / AT_ONCE {
            pond.add_to_flow("many", |flow| {
                let last = flow.existing("last");
                let after = flow.job("bench", noop());
                (1..AT_ONCE).for_each(|_| drop(flow.job("bench", noop()).after(&after)));
                last.after(&after);
            })
            .await
            .expect("they are added");
        }
        pond.shutdown(HOUR).await.expect("it closes");
    });
    let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = child.arg("--open").arg(&file).output().expect("it runs");
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

fn open(file: &Path) {
    let before = kernel::peak_kib();
    let begun = Instant::now();
    let pond = Millpond::open(file).expect("a queue");
    let took = begun.elapsed();
    let counts = pond.queue("bench").expect("a good name").counts();
    let more = kernel::peak_kib().zip(before).map(|(after, before)| (after - before) / 1_024);
    println!("open a file with {} blocked jobs: {took:.1?}, {more:?} MiB more memory", counts.blocked);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    if let Some(file) = value("--open") {
        return open(Path::new(file));
    }
    let runtime = Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory for the bench");
    if let Some(what) = value("--only") {
        let what = what.parse().expect("the number of a line");
        for _ in 0..10 * TURNS {
            println!("{:.0} per second", runtime.block_on(turn(dir.path(), what)));
        }
        return;
    }
    let mut rates = vec![Vec::new(); WORK.len()];
    for _ in 0..TURNS {
        for (what, rates) in rates.iter_mut().enumerate() {
            rates.push(runtime.block_on(turn(dir.path(), what)));
        }
    }
    let rates: Vec<_> = rates.into_iter().map(median).collect();
    println!("{:<40} {:>10} {:>22} {:>9}", "median of 7 turns", "per second", "min..max", "of plain");
    for ((what, _), (rate, least, most)) in WORK.iter().zip(&rates) {
        let spread = format!("{least:.0}..{most:.0}");
        println!("{what:<40} {rate:>10.0} {spread:>22} {:>9.2}", rate / rates[0].0);
    }
    if let Some(count) = value("--blocked") {
        blocked(&runtime, dir.path(), count.parse().expect("a number"));
    }
}
