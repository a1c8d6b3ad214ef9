//! The queue: jobs that wait in a file, run by a plugin or by a Rust function.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob, Plugin, WorkerBuilder};

use crate::Rate;

const QUEUE: &str = "q";

pub fn plugin(worker: WorkerBuilder, module: &[u8], reuse: u32) -> WorkerBuilder {
    worker.handle_wasm("job", Plugin::from_bytes("noop", module.to_vec()).unwrap().reuse(reuse))
}

pub fn function(worker: WorkerBuilder) -> WorkerBuilder {
    worker.handle_raw("job", |_: Job<Bytes>| async { Ok(()) })
}

pub fn drain(threads: usize, jobs: u64, payload: &[u8], handle: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Rate {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let pond = Millpond::builder().runtime(runtime.handle().clone()).open(dir.path().join("bench.redb")).unwrap();
    let at_once = 1_000.min((16 << 20) / payload.len());
    let mut left = jobs as usize;
    while left > 0 {
        let batch = (0..at_once.min(left)).map(|_| NewJob::raw("job", Bytes::copy_from_slice(payload)));
        left -= pond.enqueue_many(QUEUE, batch).wait().unwrap().len();
    }
    // Compiling is not part of the measurement.
    let queue = pond.queue(QUEUE).unwrap();
    queue.pause().wait().unwrap();
    let worker = handle(pond.worker(QUEUE).concurrency(16)).start().unwrap();
    let start = Instant::now();
    queue.resume().wait().unwrap();
    let done = || queue.counts().completed_total;
    while done() < jobs {
        std::thread::sleep(Duration::from_micros(200));
    }
    let took = start.elapsed();
    drop(worker);
    pond.shutdown(Duration::from_secs(10)).wait().unwrap();
    jobs as f64 / took.as_secs_f64()
}
