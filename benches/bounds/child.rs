//! The measurements, each of which runs in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob, Worker};
use tokio::sync::Semaphore;

use crate::{PAYLOAD, kernel};

const BATCH: u64 = 10_000;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub fn main(args: &[String]) {
    let path = Path::new(&args[1]);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let figure = runtime.block_on(async {
        match args[0].as_str() {
            "fill" => fill(path, args[2].parse().expect("a number")).await,
            "memory" => memory(path).await,
            "first" => first(path).await,
            "busy" => busy(path).await,
            "idle" => idle(path).await,
            "rate" => rate(path).await,
            other => panic!("{other}?"),
        }
    });
    println!("{figure}");
}

fn job() -> NewJob {
    NewJob::raw("noop", Bytes::from_static(&[7; PAYLOAD]))
}

async fn close(pond: Millpond) {
    pond.shutdown(Duration::from_secs(60)).await.expect("it closes");
}

async fn fill(path: &Path, jobs: u64) -> u64 {
    let pond = Millpond::open(path).expect("a queue");
    for batch in (0..jobs).step_by(BATCH as usize) {
        let jobs = (batch..jobs.min(batch + BATCH)).map(|_| job());
        pond.enqueue_many("q", jobs).await.expect("enqueued");
    }
    close(pond).await;
    jobs
}

/// A worker whose handlers wait for a permit.
fn gated(pond: &Millpond, gate: &Arc<Semaphore>, entered: &Arc<Semaphore>) -> Worker {
    let (gate, entered) = (gate.clone(), entered.clone());
    let handler = move |_: Job<Bytes>| {
        let (gate, entered) = (gate.clone(), entered.clone());
        async move {
            entered.add_permits(1);
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    pond.worker("q").concurrency(10).no_timeout().handle_raw("noop", handler).start().expect("a worker")
}

/// Resident memory in KiB, with the backlog open, the windows full and a thousand jobs done.
async fn memory(path: &Path) -> u64 {
    let pond = Millpond::open(path).expect("a queue");
    let (gate, entered) = (Arc::new(Semaphore::new(1_000)), Arc::new(Semaphore::new(0)));
    let _worker = gated(&pond, &gate, &entered);
    if pond.queue("q").expect("a queue").counts().pending > 1_010 {
        entered.acquire_many(1_010).await.expect("they start").forget();
    }
    let resident = kernel::peak_kib().expect("Linux says");
    // The process frees everything when it ends.
    std::mem::forget(pond);
    println!("{resident}");
    std::process::exit(0);
}

/// Microseconds from before the opening to the call of the first handler.
async fn first(path: &Path) -> u64 {
    let start = Instant::now();
    let pond = Millpond::open(path).expect("a queue");
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let _worker = gated(&pond, &gate, &entered);
    entered.acquire().await.expect("one starts").forget();
    let took = start.elapsed();
    // The handlers would wait forever.
    pond.shutdown(Duration::ZERO).await.expect("it closes");
    took.as_micros() as u64
}

/// Enqueues and runs jobs until the process is killed.
async fn busy(path: &Path) -> u64 {
    let pond = Millpond::open(path).expect("a queue");
    let (gate, entered) = (Arc::new(Semaphore::new(200)), Arc::new(Semaphore::new(0)));
    let _worker = gated(&pond, &gate, &entered);
    entered.acquire_many(205).await.expect("they start").forget();
    println!("ready");
    loop {
        pond.enqueue("q", job()).await.expect("enqueued");
    }
}

/// Milliseconds of processor time in a minute in which nothing is due.
async fn idle(path: &Path) -> u64 {
    let pond = Millpond::open(path).expect("a queue");
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let _worker = gated(&pond, &gate, &entered);
    pond.enqueue_many("q", (0..10_000).map(|_| job().delay(YEAR))).await.expect("enqueued");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = kernel::cpu_ms().expect("Linux says");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let spent = kernel::cpu_ms().expect("Linux says") - before;
    close(pond).await;
    spent
}

/// Jobs per second, enqueued and completed one for one so that the backlog stays the same: a handler ends only when a
/// job was enqueued for it. A worker without this limit would empty a small backlog, and with a large backlog would run
/// many jobs for each one that is counted.
async fn rate(path: &Path) -> u64 {
    const JOBS: u64 = 400_000;
    // Enough that the writer always has work: otherwise the figure would be the latency of the disk.
    const PRODUCERS: u64 = 4;
    const AT_ONCE: u32 = 1_000;
    let pond = Millpond::open(path).expect("a queue");
    let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (pass, ended) = (gate.clone(), Arc::new(Semaphore::new(0)));
    let (enter, end) = (entered.clone(), ended.clone());
    let handler = move |_: Job<Bytes>| {
        let (pass, enter, end) = (pass.clone(), enter.clone(), end.clone());
        async move {
            enter.add_permits(1);
            pass.acquire().await?.forget();
            end.add_permits(1);
            Ok(())
        }
    };
    let worker = pond.worker("q").concurrency(100).handle_raw("noop", handler).start().expect("a worker");
    entered.acquire_many(100).await.expect("they start").forget();
    let start = Instant::now();
    let producers = (0..PRODUCERS).map(|_| {
        let (pond, gate, ended) = (pond.clone(), gate.clone(), ended.clone());
        tokio::spawn(async move {
            for _ in 0..JOBS / PRODUCERS / u64::from(AT_ONCE) {
                pond.enqueue_many("q", (0..AT_ONCE).map(|_| job())).await.expect("enqueued");
                gate.add_permits(AT_ONCE as usize);
                ended.acquire_many(AT_ONCE).await.expect("they run").forget();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.expect("it ends");
    }
    let took = start.elapsed();
    worker.stop();
    gate.add_permits(100);
    close(pond).await;
    (JOBS as f64 / took.as_secs_f64()) as u64
}
