//! The measurements, each of which runs in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob, Worker};
use tokio::sync::Semaphore;

use crate::kernel;
use crate::measured::Raw;
use crate::point::Point;

/// Enough that the writer always has work: with a single producer the figure would be the latency of the disk.
const PRODUCERS: u64 = 4;
const WARM_UP: Duration = Duration::from_millis(500);

pub fn main(args: &[String]) {
    let path = Path::new(&args[1]);
    let point = Point::from_args(&args[args.len() - 5..]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        match args[0].as_str() {
            "fill" => fill(path, point).await,
            "empty" => println!("{}", empty(path, point)),
            "measure" => {
                let time = Duration::from_millis(args[2].parse().expect("milliseconds"));
                println!("{}", measure(path, point, time).await);
            }
            other => panic!("{other}?"),
        }
    });
}

fn open(path: &Path, point: Point) -> Millpond {
    let running = usize::try_from(point.concurrency).expect("a number of jobs");
    Millpond::builder().max_running(running).open(path).expect("a queue")
}

/// The jobs of a file one after the other, spread evenly over queues and groups.
struct Jobs {
    point: Point,
    payload: Bytes,
    queues: Vec<String>,
    next: AtomicU64,
}

impl Jobs {
    fn new(point: Point) -> Arc<Self> {
        let payload = vec![7; usize::try_from(point.payload_bytes).expect("a size")];
        let queues = (0..point.queues).map(|n| format!("q{n}")).collect();
        Arc::new(Self { point, payload: payload.into(), queues, next: AtomicU64::new(0) })
    }

    fn some(&self, count: u64) -> impl Iterator<Item = (&str, NewJob)> {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        (first..first + count).map(|n| {
            let job = NewJob::raw("noop", self.payload.clone());
            let queue = &*self.queues[(n % self.point.queues) as usize];
            match self.point.groups {
                0 => (queue, job),
                groups => (queue, job.group(format!("g{}", n % groups))),
            }
        })
    }
}

async fn fill(path: &Path, point: Point) {
    let pond = open(path, point);
    let jobs = Jobs::new(point);
    // As many as one call is allowed to bring, or half of its bytes.
    let batch = ((16 << 20) / point.payload_bytes).min(10_000);
    for first in (0..point.backlog).step_by(batch as usize) {
        pond.enqueue_all(jobs.some(batch.min(point.backlog - first))).await.expect("enqueued");
    }
    pond.shutdown(Duration::from_secs(60)).await.expect("it closes");
}

/// The high-water mark in KiB of a process with an open queue in which no job waits.
fn empty(path: &Path, point: Point) -> u64 {
    let _pond = open(path, point);
    kernel::peak_kib().expect("Linux says")
}

/// Enqueues and completes one for one: a handler ends only when a job was enqueued for it. Workers without this limit
/// would empty a small backlog and not a large one.
async fn measure(path: &Path, point: Point, time: Duration) -> Raw {
    let pond = open(path, point);
    let jobs = Jobs::new(point);
    let (gate, ended) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let workers: Vec<Worker> = jobs.queues.iter().map(|queue| gated(&pond, queue, point, &gate, &ended)).collect();
    for _ in 0..PRODUCERS {
        tokio::spawn(produce(pond.clone(), jobs.clone(), gate.clone(), ended.clone()));
    }
    tokio::time::sleep(WARM_UP).await;
    let before = Taken::now(&pond);
    tokio::time::sleep(time).await;
    let after = Taken::now(&pond);
    let raw = Raw {
        jobs: after.completed - before.completed,
        micros: (after.at - before.at).as_micros() as u64,
        cpu_ms: after.cpu_ms - before.cpu_ms,
        written_bytes: after.written_bytes - before.written_bytes,
        commits: after.commits - before.commits,
        peak_kib: kernel::peak_kib().expect("Linux says"),
    };
    // The handlers would wait forever: their jobs go back, for the next turn.
    pond.shutdown(Duration::ZERO).await.expect("it closes");
    drop(workers);
    raw
}

fn gated(pond: &Millpond, queue: &str, point: Point, gate: &Arc<Semaphore>, ended: &Arc<Semaphore>) -> Worker {
    let (gate, ended) = (gate.clone(), ended.clone());
    let handler = move |_: Job<Bytes>| {
        let (gate, ended) = (gate.clone(), ended.clone());
        async move {
            gate.acquire().await?.forget();
            ended.add_permits(1);
            Ok(())
        }
    };
    let worker = pond.worker(queue).concurrency(point.concurrency as usize).no_timeout();
    worker.handle_raw("noop", handler).start().expect("a worker")
}

async fn produce(pond: Millpond, jobs: Arc<Jobs>, gate: Arc<Semaphore>, ended: Arc<Semaphore>) {
    let batch = jobs.point.batch();
    // Until the queue is closed.
    while pond.enqueue_all(jobs.some(batch)).await.is_ok() {
        gate.add_permits(batch as usize);
        ended.acquire_many(batch as u32).await.expect("it stays open").forget();
    }
}

/// The counts at one moment.
struct Taken {
    at: Instant,
    completed: u64,
    commits: u64,
    cpu_ms: u64,
    written_bytes: u64,
}

impl Taken {
    fn now(pond: &Millpond) -> Self {
        let metrics = pond.metrics();
        Self {
            at: Instant::now(),
            completed: metrics.completed_total,
            commits: metrics.commits_total,
            cpu_ms: kernel::cpu_ms().expect("Linux says"),
            written_bytes: kernel::written_bytes().expect("Linux says"),
        }
    }
}
