//! Settings that cannot work are refused by name.

use std::time::Duration;

use millpond::{Backoff, Capacity, Error, Job, Millpond, Priority, QueueSettings, Rate, Retry, WorkerBuilder};
use redb::backends::InMemoryBackend;

use crate::support::*;

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, field: &str) {
    match answer {
        Err(Error::InvalidConfig { field: named, reason, .. }) => {
            assert_eq!(named, field);
            assert!(!reason.is_empty());
        }
        other => panic!("{field}: {other:?}"),
    }
}

#[tokio::test]
async fn settings_of_a_builder_that_cannot_work_are_refused() {
    let open = |builder: millpond::Builder| builder.open_backend(InMemoryBackend::new());
    refused(open(Millpond::builder().payload_bytes_max(0)), "payload_bytes_max");
    refused(open(Millpond::builder().payload_bytes_max(17 << 20)), "payload_bytes_max");
    refused(open(Millpond::builder().max_running(0)), "max_running");
    refused(open(Millpond::builder().blocking_threads(0)), "blocking_threads");
    refused(open(Millpond::builder().events_buffer(0)), "events_buffer");
    refused(open(Millpond::builder().linger(Duration::from_millis(1_001))), "linger");
    refused(open(Millpond::builder().linger(HOUR)), "linger");
    refused(open(Millpond::builder().linger(Duration::MAX)), "linger");
    refused(open(Millpond::builder().write_wait_max(Duration::ZERO)), "write_wait_max");
    refused(open(Millpond::builder().write_wait_max(HOUR + SECOND)), "write_wait_max");
    assert!(open(Millpond::builder().linger(SECOND).write_wait_max(HOUR)).is_ok());
    let disk = OnDisk::new();
    refused(Millpond::builder().max_running(0).open(disk.path()), "max_running");
    assert!(!disk.path().exists(), "nothing was created");
}

#[tokio::test]
async fn an_extreme_events_buffer_is_refused_or_works() {
    match Millpond::builder().events_buffer(usize::MAX).open_backend(InMemoryBackend::new()) {
        Ok(_) => {}
        Err(Error::InvalidConfig { field, .. }) => assert_eq!(field, "events_buffer"),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn settings_of_a_worker_that_cannot_work_are_refused() {
    let (_, pond) = memory();
    let start =
        |set: fn(WorkerBuilder) -> WorkerBuilder| set(pond.worker("q").handle(|_: Job<Work>| async { Ok(()) })).start();
    refused(start(|w| w.concurrency(0)), "concurrency");
    refused(start(|w| w.timeout(Duration::ZERO)), "timeout");
    refused(start(|w| w.rate_limit(Rate::per_second(0))), "rate");
    refused(start(|w| w.rate_limit(Rate::new(1, Duration::ZERO))), "rate");
    refused(start(|w| w.rate_limit(Rate::per_second(1).burst(0))), "rate");
    refused(start(|w| w.group_rate_limit(Rate::per_second(0))), "rate");
    refused(start(|w| w.retry(Retry::default().max_attempts(0))), "max_attempts");
    refused(start(|w| w.retry(Retry::default().jitter(f64::NAN))), "jitter");
    refused(start(|w| w.retry(Retry::default().jitter(-0.1))), "jitter");
    refused(start(|w| w.retry(Retry::default().jitter(1.1))), "jitter");
    refused(start(|w| w.retry(Retry::list([]))), "backoff");
    refused(start(|w| w.handle(|_: Job<Work>| async { Ok(()) })), "handle");
    refused(pond.worker("q").start(), "handle");
    assert!(matches!(
        pond.worker("no name").handle(|_: Job<Work>| async { Ok(()) }).start(),
        Err(Error::InvalidName { .. })
    ));
    let bad_kind = pond.worker("q").handle_raw("no name", |_: Job<bytes::Bytes>| async { Ok(()) }).start();
    assert!(matches!(bad_kind, Err(Error::InvalidName { what: "kind", .. })));
    assert!(start(|w| w).is_ok(), "none of them has taken the queue");
}

#[tokio::test]
async fn settings_of_a_job_that_cannot_work_are_refused() {
    let (_, pond) = memory();
    refused(pond.enqueue("q", work(1).max_attempts(0)).await, "max_attempts");
    refused(pond.enqueue("q", work(1).timeout(Duration::ZERO)).await, "timeout");
    refused(pond.enqueue("q", work(1).backoff(Backoff::List(Vec::new()))).await, "backoff");
    refused(Priority::new(10), "priority");
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
}

#[tokio::test]
async fn settings_of_a_queue_that_cannot_work_are_refused() {
    let (_, pond) = memory();
    let queue = pond.queue("q").unwrap();
    refused(queue.configure(QueueSettings::default().capacity(Capacity::jobs(0))).await, "capacity");
    refused(queue.configure(QueueSettings::default().capacity(Capacity::UNLIMITED.bytes(0))).await, "capacity");
    assert_eq!(queue.settings(), QueueSettings::default());
}

#[tokio::test]
async fn extreme_settings_that_can_work_are_accepted() {
    let (clock, pond) = memory_with(|builder| builder.max_running(usize::MAX).cache_bytes(0).linger(Duration::ZERO));
    let retry = Retry::exponential(Duration::MAX).cap(Duration::MAX).jitter(1.0).max_attempts(u32::MAX);
    pond.worker("q")
        .concurrency(usize::MAX)
        .timeout(Duration::MAX)
        .retry(retry)
        .rate_limit(Rate::new(u32::MAX, Duration::from_nanos(1)).burst(u32::MAX))
        .handle(|job: Job<Work>| async move { if job.n == 1 { Err("x".into()) } else { Ok(()) } })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1).expires_in(Duration::MAX).timeout(Duration::MAX)).await.unwrap();
    pond.enqueue_many("q", (2..100).map(work)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 98);
    clock.advance(HOUR * 24 * 365 * 1_000);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().attempts, 1, "the greatest duration is accepted");
    pond.shutdown(Duration::MAX).await.unwrap();
}
