//! Figures of an engine, for people.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millpond::{Job, Millpond, NewJob, Payload};
use millpond_links::{Envelope, Forward, Lease, Mailbox, Receive, SharedQueue, Take};

/// Jobs in a batch.
pub const BATCH: usize = 500;

/// A job as a link sends it: 200 bytes of payload, and its headers.
pub fn envelope(number: usize) -> Envelope {
    let headers = [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", number.to_string()),
        ("ce-source", "0123456789abcdef0123456789abcdef-0-readings".to_owned()),
        ("ce-type", "reading".to_owned()),
        ("ce-time", "2026-12-01T07:00:00.000Z".to_owned()),
        ("mp-v", "1".to_owned()),
        ("mp-queue", "readings".to_owned()),
        ("mp-batch", format!("{}/{}", number / BATCH, number % BATCH)),
        ("mp-codec", "json".to_owned()),
        ("mp-priority", "4".to_owned()),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Envelope { partition: (number % 16) as u16, headers, payload: Bytes::from(vec![b'x'; 200]) }
}

/// Prints how many jobs per second there were since `begun`, and returns it.
pub fn told(what: &str, jobs: usize, begun: Instant) -> f64 {
    let rate = jobs as f64 / begun.elapsed().as_secs_f64();
    println!("{what:<48} {rate:>9.0} jobs/s");
    rate
}

/// Prints the figures of so many jobs that go from file to file, over a mailbox and over a shared queue, and of one job alone.
pub async fn from_file_to_file(engine: &impl Lease, jobs: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let open = |name: &str| Millpond::open(dir.path().join(name)).expect("it can be opened");
    let (device, hub) = (open("device.redb"), open("hub.redb"));
    let mailbox = Mailbox::named("hub").expect("a good name");
    enqueue(&device, "readings", jobs).await;
    let begun = Instant::now();
    let forward = Forward::new(&device, "readings", engine, mailbox.clone());
    let _to_hub = forward.start().await.expect("a good link");
    let receive = Receive::new(&hub, "readings", engine, mailbox).unfinished_max(u64::MAX);
    let from_device = receive.start().expect("a good link");
    while from_device.state().jobs < jobs {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    told("mailbox: from file to file", jobs as usize, begun);
    one_alone("stored elsewhere", &device, "readings", || from_device.state().jobs).await;

    let shared = SharedQueue::named("file-to-file").expect("a good name");
    let worker = hub.worker("taken").concurrency(100);
    worker.handle_any(|_: Job<Payload>| async { Ok(()) }).start().expect("the queue has no worker");
    enqueue(&device, "outgoing", jobs).await;
    let begun = Instant::now();
    let forward = Forward::to_shared(&device, "outgoing", engine, shared.clone());
    let _to_shared = forward.start().await.expect("a good link");
    let take = Take::new(&hub, "taken", engine, shared).held_max(1_000).start().await.expect("a good link");
    let ended = || hub.queue("taken").expect("a good name").counts().completed_total;
    while ended() < jobs || take.state().held > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    told("shared queue: sent, taken, run and ended", jobs as usize, begun);
    one_alone("completed elsewhere", &device, "outgoing", ended).await;
}

async fn enqueue(pond: &Millpond, queue: &str, jobs: u64) {
    for _ in 0..jobs / 1_000 {
        let some = (0..1_000).map(|_| NewJob::raw("reading", vec![b'x'; 200]));
        pond.enqueue_many(queue, some).await.expect("they are stored");
    }
}

/// Enqueues one job after another, each when the one before has raised the count.
async fn one_alone(until: &str, from: &Millpond, queue: &str, count: impl Fn() -> u64) {
    let mut times = Vec::new();
    for _ in 0..200 {
        let (before, begun) = (count(), Instant::now());
        from.enqueue(queue, NewJob::raw("reading", "x")).await.expect("it is stored");
        while count() == before {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        times.push(begun.elapsed());
    }
    times.sort();
    println!("one job, from enqueued to {until}: p50 {:.1?}, p99 {:.1?}", times[100], times[198]);
}
