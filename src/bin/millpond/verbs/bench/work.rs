//! Work like that of W2 and W4 in docs/performance.md.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Error, Job, Millpond, NewJob};
use tokio::task::JoinSet;

/// Bytes of a payload.
const PAYLOAD: [u8; 128] = [b'x'; 128];

const QUEUE: &str = "bench";
const KIND: &str = "nothing";

/// Callers of W2.
const PRODUCERS: usize = 64;

/// Jobs of W4 that run at a time.
const CONCURRENCY: usize = 100;

/// Jobs that are drained, at least: fewer end before the time can be measured.
const DRAINED_MIN: u64 = 20_000;

/// How long the close of a file waits for what is under way.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// How many jobs per second so many callers store, each of whom waits for its job.
pub(super) async fn enqueue(path: &Path, producers: usize, time: Duration) -> Result<f64, Error> {
    let pond = Millpond::open(path)?;
    let rate = produce(&pond, producers, time).await?;
    pond.shutdown(CLOSE_WAIT).await?;
    Ok(rate)
}

/// The same by 64 callers; then a worker runs the jobs. Returns both rates.
pub(super) async fn enqueue_and_drain(path: &Path, time: Duration, drain: Duration) -> Result<(f64, f64), Error> {
    let pond = Millpond::open(path)?;
    let stored = produce(&pond, PRODUCERS, time).await?;
    let queue = pond.queue(QUEUE)?;
    while queue.counts().pending < DRAINED_MIN {
        pond.enqueue_many(QUEUE, (0..1_000).map(|_| job())).await?;
    }
    let drained = drained(&pond, drain).await?;
    pond.shutdown(CLOSE_WAIT).await?;
    Ok((stored, drained))
}

fn job() -> NewJob {
    NewJob::raw(KIND, Bytes::from_static(&PAYLOAD))
}

async fn produce(pond: &Millpond, producers: usize, time: Duration) -> Result<f64, Error> {
    let (begun, mut tasks) = (Instant::now(), JoinSet::new());
    for _ in 0..producers {
        let pond = pond.clone();
        tasks.spawn(async move {
            let mut stored = 0_u64;
            while begun.elapsed() < time {
                pond.enqueue(QUEUE, job()).await?;
                stored += 1;
            }
            Ok(stored)
        });
    }
    let mut stored = 0;
    for answer in tasks.join_all().await {
        let answer: Result<u64, Error> = answer;
        stored += answer?;
    }
    Ok(stored as f64 / begun.elapsed().as_secs_f64())
}

/// How many jobs per second end, until the queue is empty or the time is over.
async fn drained(pond: &Millpond, time: Duration) -> Result<f64, Error> {
    let queue = pond.queue(QUEUE)?;
    let begun = Instant::now();
    let worker =
        pond.worker(QUEUE).concurrency(CONCURRENCY).handle_raw(KIND, |_: Job<Bytes>| async { Ok(()) }).start()?;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while queue.counts().unfinished() > 0 && begun.elapsed() < time {
        looks.tick().await;
    }
    let (ended, took) = (queue.counts().completed_total, begun.elapsed());
    worker.stop().await?;
    Ok(ended as f64 / took.as_secs_f64())
}
