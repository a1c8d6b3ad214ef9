//! Token buckets: in no window of length w do more than burst + rate × w jobs start, also across restarts
//! and crashes, and N waiting jobs take about N divided by the rate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{Clock, Job, Millpond, NewJob, Rate};
use millpond_testkit::SimDisk;

const JOBS: usize = 120;

/// The milliseconds of the monotonic clock at which jobs started, each with the group that limits it.
type Log = Arc<Mutex<Vec<(Option<String>, u64)>>>;

struct Limits {
    queue: Option<Rate>,
    group: Option<Rate>,
    groups: usize,
    /// Ready jobs held in memory per queue.
    window: usize,
}

fn open(memory: &SimDisk, clock: &ManualClock, limits: &Limits, log: &Log) -> Millpond {
    let builder = Millpond::builder().clock(clock.clone()).seed(0).window_jobs_max(limits.window);
    let pond = builder.open_backend(memory.clone()).unwrap();
    let mut worker = pond.worker("q").concurrency(1_000);
    if let Some(rate) = limits.queue {
        worker = worker.rate_limit(rate);
    }
    if let Some(rate) = limits.group {
        worker = worker.group_rate_limit(rate);
    }
    let (log, clock) = (log.clone(), clock.clone());
    let handle = move |job: Job<Bytes>| {
        let at = clock.monotonic().as_millis() as u64;
        log.lock().unwrap().push((job.group().map(str::to_owned), at));
        async { Ok(()) }
    };
    worker.handle_raw("k", handle).start().unwrap();
    pond
}

fn check_windows(starts: &[u64], rate: Rate, burst: u32) {
    for (n, from) in starts.iter().enumerate() {
        for (m, to) in starts.iter().enumerate().skip(n) {
            let (count, length) = (m - n + 1, (to - from) as f64 / 1_000.0);
            let most = f64::from(burst) + rate.tokens_per_second() * length;
            assert!(count as f64 <= most + 1e-6, "{count} starts from {from} ms to {to} ms, at most {most}");
        }
    }
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let burst = rng.u32(1..8);
    let rate = Rate::new(rng.u32(1..40), Duration::from_secs(rng.u64(1..5))).burst(burst);
    let by_group = rng.bool();
    // From two groups to many more than a window holds.
    let (groups, window) = ([2, 2, 7, 40][rng.usize(..4)], [4_096, 4_096, 1, 5][rng.usize(..4)]);
    let limits = Limits {
        queue: (!by_group).then_some(rate),
        group: by_group.then_some(rate),
        groups: if by_group { groups } else { 1 },
        window,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut memory, clock, log) = (SimDisk::new(), ManualClock::new(), Log::default());
        let mut pond = open(&memory, &clock, &limits, &log);
        let group = |n: usize| format!("g{}", n % limits.groups);
        let jobs = (0..JOBS).map(|n| {
            let job = NewJob::raw("k", "");
            if by_group { job.group(group(n)) } else { job }
        });
        pond.enqueue_many("q", jobs).await.unwrap();
        let (mut steps, mut crashes) = (0.0, 0.0);
        while pond.queue("q").unwrap().counts().completed_total < JOBS as u64 {
            pond.testing().idle().await;
            let millis = [1, 7, 50, 333, 1_000, 2_500][rng.usize(..6)];
            clock.advance(Duration::from_millis(millis));
            steps += millis as f64 / 1_000.0;
            match rng.u8(..12) {
                0 => {
                    drop(pond);
                    pond = open(&memory, &clock, &limits, &log);
                }
                1 => {
                    pond.testing().idle().await;
                    memory = memory.after_kill();
                    drop(pond);
                    pond = open(&memory, &clock, &limits, &log);
                    crashes += 1.0;
                }
                _ => {}
            }
            let jobs_per_group = JOBS.div_ceil(limits.groups) as f64;
            // A crash forgets at most one second of the rate, or one token; a step can be too long by its own length.
            let longest =
                (jobs_per_group / rate.tokens_per_second() + crashes * (1.0 / rate.tokens_per_second() + 1.0)) * 1.2;
            let lost_to_long_steps = 2.5 * (1.0 + jobs_per_group / f64::from(burst));
            assert!(steps < longest + lost_to_long_steps, "seed {seed}: it does not finish within {steps} s");
        }
        let log = log.lock().unwrap().clone();
        for group in 0..limits.groups {
            let group = by_group.then(|| format!("g{group}"));
            let starts: Vec<u64> = log.iter().filter(|(of, _)| *of == group).map(|(_, at)| *at).collect();
            check_windows(&starts, rate, burst);
        }
        assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new());
    });
}

#[test]
fn no_window_sees_more_starts_than_burst_and_rate_allow() {
    for seed in 0..48 {
        println!("seed {seed}");
        run(seed);
    }
}
