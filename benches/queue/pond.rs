//! The same work by the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob};
use tokio::runtime::Runtime;

use crate::PAYLOAD;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn open(runtime: &Runtime, max_running: usize) -> (tempfile::TempDir, Millpond) {
    let dir = tempfile::tempdir().expect("a directory for the bench");
    let builder = Millpond::builder().runtime(runtime.handle().clone()).max_running(max_running);
    let pond = builder.open(dir.path().join("pond.redb")).expect("a queue");
    (dir, pond)
}

fn job() -> NewJob {
    NewJob::raw("noop", Bytes::from_static(&[7; PAYLOAD]))
}

pub fn enqueue(producers: u64, jobs: u64) -> Duration {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let took = runtime.block_on(async {
        let start = Instant::now();
        let producers: Vec<_> = (0..producers)
            .map(|_| {
                let pond = pond.clone();
                tokio::spawn(async move {
                    for _ in 0..jobs / producers {
                        pond.enqueue("bench", job()).await.expect("it is stored");
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.await.expect("it ends");
        }
        start.elapsed()
    });
    drop(pond);
    took
}

pub fn bulk(jobs: u64) -> Duration {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, 256);
    let start = Instant::now();
    fill(&pond, jobs);
    start.elapsed()
}

fn fill(pond: &Millpond, jobs: u64) {
    for first in (0..jobs).step_by(1_000) {
        let count = 1_000.min(jobs - first);
        pond.enqueue_many("bench", (0..count).map(|_| job())).wait().expect("they are stored");
    }
}

pub fn drain(concurrency: usize, jobs: u64) -> Duration {
    let runtime = runtime();
    let (_dir, pond) = open(&runtime, concurrency);
    fill(&pond, jobs);
    let start = Instant::now();
    let worker = pond.worker("bench").concurrency(concurrency);
    worker.handle_raw("noop", |_: Job<Bytes>| async { Ok(()) }).start().expect("a worker");
    let done = Arc::new(pond.queue("bench").expect("a queue"));
    runtime.block_on(async {
        // Durable completions are what is counted: the commit that removes the last job.
        while done.counts().completed_total < jobs {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    });
    start.elapsed()
}
