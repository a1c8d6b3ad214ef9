//! The same work by the queue.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Builder, Job, Millpond, NewJob, Priority, Retry, WorkerBuilder};
use redb::TableDefinition;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use crate::floor::{PAYLOAD, pause};
use crate::measure::{Clock, Sample};

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

static LISTENS: AtomicBool = AtomicBool::new(false);

/// Sets whether a listener receives every event.
pub fn listen(listens: bool) {
    LISTENS.store(listens, Ordering::Relaxed);
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

pub fn open(runtime: &Runtime, max_running: usize) -> (tempfile::TempDir, Millpond) {
    open_with(Millpond::builder(), runtime, max_running)
}

fn open_with(builder: Builder, runtime: &Runtime, max_running: usize) -> (tempfile::TempDir, Millpond) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let builder = builder.runtime(runtime.handle().clone()).max_running(max_running);
    let pond = builder.open(dir.path().join("pond.redb")).expect("a queue");
    if LISTENS.load(Ordering::Relaxed) {
        let mut events = pond.events();
        runtime.spawn(async move { while events.next().await.is_some() {} });
    }
    (dir, pond)
}

pub fn job(payload: usize) -> NewJob {
    const ALL: [u8; 1_024] = [7; 1_024];
    NewJob::raw("noop", Bytes::from_static(&ALL[..payload]))
}

pub fn commits(pond: &Millpond) -> u64 {
    pond.metrics().commits_total
}

/// Each of `count` tasks calls `each` so many times.
async fn tasks<F>(count: u64, calls: u64, each: impl Fn() -> F + Clone + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let task = |_| {
        let each = each.clone();
        tokio::spawn(async move {
            for _ in 0..calls {
                each().await;
            }
        })
    };
    let tasks: Vec<_> = (0..count).map(task).collect();
    for task in tasks {
        task.await.expect("it ends");
    }
}

pub fn enqueue(producers: u64, jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let clock = Clock::start(commits(&pond));
    let (calls, producer) = (jobs / producers, pond.clone());
    runtime.block_on(tasks(producers, calls, move || {
        let pond = producer.clone();
        async move {
            let _id = pond.enqueue("bench", job(PAYLOAD)).await.expect("it is stored");
        }
    }));
    clock.stop(commits(&pond))
}

/// One thread that waits for each of its calls.
pub fn enqueue_blocking(jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let clock = Clock::start(commits(&pond));
    for _ in 0..jobs {
        pond.enqueue("bench", job(PAYLOAD)).wait().expect("it is stored");
    }
    clock.stop(commits(&pond))
}

/// Each call stores a row of the application and a job.
pub fn transactions(producers: u64, jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let row = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = Clock::start(commits(&pond));
    let (calls, producer) = (jobs / producers, pond.clone());
    runtime.block_on(tasks(producers, calls, move || {
        let (pond, row) = (producer.clone(), row.fetch_add(1, Ordering::Relaxed));
        async move {
            let stored = pond.transaction(move |tx| {
                tx.open_table(ROWS)?.insert(row, [7; PAYLOAD].as_slice())?;
                Ok(tx.enqueue("bench", job(PAYLOAD))?)
            });
            stored.await.expect("it is stored");
        }
    }));
    clock.stop(commits(&pond))
}

pub fn bulk(jobs: u64, payload: usize) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let clock = Clock::start(commits(&pond));
    fill(&pond, jobs, |_| job(payload));
    clock.stop(commits(&pond))
}

pub fn fill(pond: &Millpond, jobs: u64, job: impl Fn(u64) -> NewJob) {
    for first in (0..jobs).step_by(1_000) {
        let count = 1_000.min(jobs - first);
        pond.enqueue_many("bench", (first..first + count).map(&job)).wait().expect("they are stored");
    }
}

/// Waits for the commit that removes the last job: durable completions are what counts.
async fn completed(pond: &Millpond, jobs: u64) {
    let queue = pond.queue("bench").expect("a queue");
    while queue.counts().completed_total < jobs {
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

pub fn drain(concurrency: usize, jobs: u64) -> Sample {
    drained(concurrency, jobs, Millpond::builder(), |worker| worker)
}

/// Runs all jobs with a worker that has the options `with`.
pub fn drained(
    concurrency: usize,
    jobs: u64,
    builder: Builder,
    with: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open_with(builder, &runtime, concurrency);
    fill(&pond, jobs, |_| job(PAYLOAD));
    let clock = Clock::start(commits(&pond));
    let worker = with(pond.worker("bench").concurrency(concurrency));
    worker.handle_raw("noop", |_: Job<Bytes>| async { Ok(()) }).start().expect("a worker");
    runtime.block_on(completed(&pond, jobs));
    clock.stop(commits(&pond))
}

/// A worker that notes how long after its call each job starts: the payload contains the time of the call.
fn timed_worker(pond: &Millpond, epoch: Instant, concurrency: usize) -> (Arc<Mutex<Vec<Duration>>>, Arc<Semaphore>) {
    let (latencies, started) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
    let (notes, starts) = (latencies.clone(), started.clone());
    let handler = move |job: Job<Bytes>| {
        let called = u64::from_le_bytes(job[..8].try_into().expect("eight bytes"));
        let latency = epoch.elapsed() - Duration::from_nanos(called);
        notes.lock().expect("nobody panics").push(latency);
        starts.add_permits(1);
        async { Ok(()) }
    };
    pond.worker("bench").concurrency(concurrency).handle_raw("noop", handler).start().expect("a worker");
    (latencies, started)
}

fn timed_job(epoch: Instant) -> NewJob {
    let mut payload = [7; PAYLOAD];
    payload[..8].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_le_bytes());
    NewJob::raw("noop", Bytes::copy_from_slice(&payload))
}

pub fn mixed_traffic(producers: u64, jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let epoch = Instant::now();
    let (latencies, _) = timed_worker(&pond, epoch, 32);
    let clock = Clock::start(commits(&pond));
    let (calls, producer) = (jobs / producers, pond.clone());
    runtime.block_on(async {
        let enqueue = move || {
            let pond = producer.clone();
            async move {
                let _id = pond.enqueue("bench", timed_job(epoch)).await.expect("it is stored");
            }
        };
        tasks(producers, calls, enqueue).await;
        completed(&pond, jobs).await;
    });
    let latencies = std::mem::take(&mut *latencies.lock().expect("nobody panics"));
    clock.stop(commits(&pond)).with_latencies(latencies)
}

/// One job at a time, with pauses.
pub fn idle(jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let epoch = Instant::now();
    let (latencies, started) = timed_worker(&pond, epoch, 32);
    let clock = Clock::start(commits(&pond));
    for done in 1..=jobs {
        pause();
        pond.enqueue("bench", timed_job(epoch)).wait().expect("it is stored");
        runtime.block_on(async {
            started.acquire().await.expect("it starts").forget();
            completed(&pond, done).await;
        });
    }
    let latencies = std::mem::take(&mut *latencies.lock().expect("nobody panics"));
    clock.stop(commits(&pond)).with_latencies(latencies)
}

/// A third in groups, a third with priorities, one in ten delayed; one in twenty fails at first.
pub fn mixed_jobs(jobs: u64) -> Sample {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let clock = Clock::start(commits(&pond));
    let worker = pond.worker("bench").concurrency(100).retry(Retry::fixed(Duration::from_millis(1)).max_attempts(3));
    let handler = |job: Job<Bytes>| async move {
        let n = u64::from_le_bytes(job[..8].try_into().expect("eight bytes"));
        let fails = n.is_multiple_of(20) && job.attempt() == 1;
        if fails { Err("on purpose".into()) } else { Ok(()) }
    };
    worker.handle_raw("noop", handler).start().expect("a worker");
    fill(&pond, jobs, |n| {
        let mut payload = [7; PAYLOAD];
        payload[..8].copy_from_slice(&n.to_le_bytes());
        let job = NewJob::raw("noop", Bytes::copy_from_slice(&payload));
        let job = match n % 3 {
            0 => job.group(format!("g{}", n % 1_000)),
            1 => job.priority(Priority::new((n % 10) as u8).expect("a digit")),
            _ => job,
        };
        if n % 10 == 9 { job.delay(Duration::from_millis(20)) } else { job }
    });
    runtime.block_on(completed(&pond, jobs));
    clock.stop(commits(&pond))
}
