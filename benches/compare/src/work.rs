//! The works, the same for every queue, each in a process of its own. Shared with the package of effectum.
//!
//! A run that lost a job, or whose store disagrees with what was done, ends with an error and prints no figure.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::system::{Seen, System};

/// How much of each work is done.
#[derive(Clone, Copy)]
pub struct Amount {
    /// W1, W2, W3, W5: how long the producers run.
    pub time: Duration,
    /// W4: the number of jobs that wait when the worker starts.
    pub backlog: u64,
    /// W6: the number of jobs, one after another.
    pub samples: u64,
    /// W6: the pause between two jobs is random, up to twice this.
    pub pause: Duration,
}

/// The figures of a run.
pub struct Figures {
    /// The number of jobs done.
    pub jobs: u64,
    /// Jobs per second.
    pub rate: f64,
    /// The median time from enqueue to the start of the handler, in microseconds.
    pub p50: f64,
    /// The 99th percentile of that time.
    pub p99: f64,
}

/// The number of jobs in one call of W3.
pub const BULK: usize = 1_000;

/// The arguments of a run's process: system, setting, work, amounts, directory.
pub fn to_args(setting: &str, work: &str, amount: Amount, dir: &Path) -> Vec<String> {
    let Amount { time, backlog, samples, pause } = amount;
    let numbers = [time.as_micros() as u64, backlog, samples, pause.as_micros() as u64];
    let mut args = vec![setting.to_owned(), work.to_owned()];
    args.extend(numbers.iter().map(u64::to_string));
    args.push(dir.display().to_string());
    args
}

/// Does the work that `args`, made by [`to_args`], describe, and prints its figures in one line.
pub fn run<S: System>(args: &[String]) {
    let number = |at: usize| args[at].parse().expect("a number");
    let amount = Amount {
        time: Duration::from_micros(number(2)),
        backlog: number(3),
        samples: number(4),
        pause: Duration::from_micros(number(5)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (setting, work, dir) = (args[0].clone(), args[1].clone(), args[6].clone());
    // On a worker of the runtime, like the code of an application.
    let job = runtime.spawn(async move {
        let system = Arc::new(S::open(&setting, Path::new(&dir)).await);
        measure(system, &work, amount).await
    });
    let figures = runtime.block_on(job).expect("the run ends");
    println!("{} {} {} {}", figures.jobs, figures.rate, figures.p50, figures.p99);
    // Some queues have threads that never end.
    std::process::exit(0);
}

/// Reads the line that `run` printed.
pub fn from_line(line: &str) -> Option<Figures> {
    let mut words = line.split_whitespace();
    let jobs = words.next()?.parse().ok()?;
    let mut next = || words.next()?.parse().ok();
    Some(Figures { jobs, rate: next()?, p50: next()?, p99: next()? })
}

async fn measure<S: System>(system: Arc<S>, work: &str, amount: Amount) -> Figures {
    let seen = Seen::leak();
    let took = match work {
        "W1" => produce(&system, seen, 1, amount.time).await,
        "W2" => produce(&system, seen, 64, amount.time).await,
        "W3" => produce_bulks(&system, seen, amount.time).await,
        "W4" => drain(&system, seen, amount.backlog).await,
        "W5" => produce_and_work(&system, seen, amount.time).await,
        "W6" => one_by_one(&system, seen, amount).await,
        _ => panic!("there is no work {work}"),
    };
    verify(&*system, seen, matches!(work, "W1" | "W2" | "W3")).await;
    let latencies = seen.latencies();
    let percentile = |of: usize| latencies[(latencies.len() * of / 100).min(latencies.len() - 1)];
    let jobs = seen.made();
    Figures { jobs, rate: jobs as f64 / took.as_secs_f64(), p50: percentile(50), p99: percentile(99) }
}

async fn produce<S: System>(system: &Arc<S>, seen: &'static Seen, producers: usize, time: Duration) -> Duration {
    let start = Instant::now();
    let producers: Vec<_> = (0..producers)
        .map(|_| {
            let system = system.clone();
            tokio::spawn(async move {
                while start.elapsed() < time {
                    system.enqueue(seen.payload()).await;
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.expect("a producer ends");
    }
    start.elapsed()
}

async fn produce_bulks<S: System>(system: &Arc<S>, seen: &'static Seen, time: Duration) -> Duration {
    let start = Instant::now();
    while start.elapsed() < time {
        system.enqueue_many((0..BULK).map(|_| seen.payload()).collect()).await;
    }
    start.elapsed()
}

async fn drain<S: System>(system: &Arc<S>, seen: &'static Seen, backlog: u64) -> Duration {
    while seen.made() < backlog {
        let bulk = BULK.min((backlog - seen.made()) as usize);
        system.enqueue_many((0..bulk).map(|_| seen.payload()).collect()).await;
    }
    let start = Instant::now();
    system.start_worker(100, seen).await;
    all_ended(system, seen).await;
    start.elapsed()
}

async fn produce_and_work<S: System>(system: &Arc<S>, seen: &'static Seen, time: Duration) -> Duration {
    system.start_worker(32, seen).await;
    let start = Instant::now();
    produce(system, seen, 16, time).await;
    all_ended(system, seen).await;
    start.elapsed()
}

async fn one_by_one<S: System>(system: &Arc<S>, seen: &'static Seen, amount: Amount) -> Duration {
    system.start_worker(1, seen).await;
    let start = Instant::now();
    for _ in 0..amount.samples {
        // Random, so that the enqueues do not synchronise with a poll.
        tokio::time::sleep(amount.pause.mul_f64(2.0 * fastrand::f64())).await;
        system.enqueue(seen.payload()).await;
        all_ended(system, seen).await;
    }
    start.elapsed()
}

/// Waits until every handler has started and every end is in the store.
async fn all_ended<S: System>(system: &Arc<S>, seen: &'static Seen) {
    while seen.starts() < seen.made() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    while system.unfinished().await > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Checks that the jobs are really stored, or have really ended.
async fn verify<S: System>(system: &S, seen: &Seen, waiting: bool) {
    let (made, unfinished) = (seen.made(), system.unfinished().await);
    if waiting {
        assert_eq!(unfinished, made, "the store does not hold the jobs that were enqueued");
        return;
    }
    assert_eq!((seen.starts(), unfinished), (made, 0), "not every job was run and ended");
    if let Some(finished) = system.finished().await {
        assert_eq!(finished, made, "the store has another number of finished jobs");
    }
    if seen.again() > 0 {
        eprintln!("{} of {made} jobs were run again", seen.again());
    }
}
