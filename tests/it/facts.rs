//! The storage and the process say what they are: sizes, costs of commits, slots and threads.

use std::fs;
use std::io;
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Clock, Error, Job, Millpond, NewJob};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;
use serde_json::json;

use crate::support::*;

/// A disk whose syncs take one second of the test's clock.
#[derive(Debug)]
struct SlowDisk(InMemoryBackend, ManualClock);

impl StorageBackend for SlowDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.advance(SECOND);
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

fn on_a_slow_disk() -> Millpond {
    let clock = ManualClock::new();
    let disk = SlowDisk(InMemoryBackend::new(), clock.clone());
    Millpond::builder().clock(clock).seed(0).open_backend(disk).unwrap()
}

#[tokio::test]
async fn each_commit_is_counted_with_its_operations_and_its_time() {
    let pond = on_a_slow_disk();
    let opened = pond.storage().unwrap();
    assert_eq!((opened.commits_total, opened.operations_total), (0, 0));
    assert_eq!(opened.commit_time_max, Duration::ZERO);

    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    let one = pond.storage().unwrap();
    assert_eq!((one.commits_total, one.operations_total, one.operations_latest), (1, 1, 1), "one call");
    let syncs = one.syncs_total.unwrap() - opened.syncs_total.unwrap();
    assert!(syncs >= 1, "{one:?}");
    assert_eq!(one.commit_time_latest, SECOND * u32::try_from(syncs).unwrap());

    pond.queue("q").unwrap().pause().await.unwrap();
    let two = pond.storage().unwrap();
    assert_eq!((two.commits_total, two.operations_total), (2, 2));
    assert_eq!(two.commit_time_total, one.commit_time_total + two.commit_time_latest);
    assert_eq!(two.commit_time_max, one.commit_time_latest.max(two.commit_time_latest));
    assert!(two.written_bytes_total > one.written_bytes_total);

    let metrics = pond.metrics();
    assert_eq!(metrics.commit_time_total, two.commit_time_total);
    assert_eq!((metrics.commits_total, metrics.operations_total), (2, 2));
    assert_eq!(Some(metrics.syncs_total), two.syncs_total);
    assert_eq!(Some(metrics.written_bytes_total), two.written_bytes_total);
}

#[tokio::test]
async fn calls_that_share_a_commit_are_operations_of_that_commit() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().clock(ManualClock::new()).open_backend(disk.clone()).unwrap();
    let calls = (0..8).map(|n| pond.enqueue("q", work(n))).collect();
    for answer in in_one_batch(&pond, &disk, calls).await {
        answer.unwrap();
    }
    let storage = pond.storage().unwrap();
    assert_eq!((storage.commits_total, storage.operations_total, storage.operations_latest), (2, 9, 8));
}

#[tokio::test]
async fn a_commit_through_a_guard_is_counted_too() {
    let (_, pond) = memory();
    let mut guard = pond.begin_write().unwrap();
    for n in 0..3 {
        guard.enqueue("q", work(n)).unwrap();
    }
    guard.commit().unwrap();
    let storage = pond.storage().unwrap();
    assert_eq!((storage.commits_total, storage.operations_total, storage.operations_latest), (1, 3, 3));
}

#[tokio::test]
async fn the_sizes_are_those_of_the_file_and_of_its_waiting_jobs() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", (0..100).map(|_| NewJob::raw("big", vec![7; 10_000]))).await.unwrap();
    let storage = pond.storage().unwrap();
    assert_eq!(storage.path.as_deref(), Some(&*disk.path()));
    assert_eq!(storage.file_bytes, Some(fs::metadata(disk.path()).unwrap().len()));
    assert_eq!(storage.waiting_bytes, pond.queue("q").unwrap().counts().bytes);
    assert!(storage.waiting_bytes >= 1_000_000, "{storage:?}");
    assert!(storage.written_bytes_total.unwrap() >= storage.waiting_bytes);
    assert_eq!((storage.used_bytes, storage.used_at), (None, None), "nothing has read the whole file");
}

#[tokio::test]
async fn the_bytes_in_use_are_known_after_a_look_for_a_compaction() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", (0..1_000).map(|_| NewJob::raw("big", vec![7; 10_000]))).await.unwrap();
    pond.queue("q").unwrap().drain().await.unwrap();
    for _ in 0..12 {
        disk.clock.advance(SECOND * 61);
        settled(&pond).await;
    }
    let storage = pond.storage().unwrap();
    let used = storage.used_bytes.expect("the queue was idle for minutes");
    assert!(used > 0 && used < 4 << 20, "{storage:?}");
    assert!(storage.used_at.is_some_and(|at| at <= pond.now()));
}

#[tokio::test]
async fn an_attached_database_has_no_size_and_counts_no_bytes() {
    let database = redb::Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let pond = Millpond::builder().attach(std::sync::Arc::new(database)).unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    let storage = pond.storage().unwrap();
    assert_eq!((storage.path, storage.file_bytes), (None, None));
    assert_eq!((storage.syncs_total, storage.written_bytes_total), (None, None));
    assert_eq!((storage.commits_total, pond.metrics().written_bytes_total), (1, 0));
}

#[tokio::test]
async fn the_process_says_how_many_of_its_slots_and_threads_are_in_use() {
    let (clock, pond) = memory_with(|builder| builder.max_running(7).blocking_threads(3));
    let start = clock.wall();
    let (_worker, mut keeper) = gated(&pond, "async", 4);
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (receiver, begun) = (std::sync::Mutex::new(receiver), Log::new());
    let log = begun.clone();
    let block = move |job: Job<Work>| {
        log.push(job.n);
        let _ = receiver.lock().unwrap().recv();
        Ok(())
    };
    pond.worker("blocking").concurrency(4).no_timeout().handle_blocking(block).start().unwrap();
    pond.enqueue_many("async", (0..4).map(work)).await.unwrap();
    pond.enqueue_many("blocking", (0..2).map(work)).await.unwrap();
    keeper.next(4).await;
    settled(&pond).await;
    clock.advance(HOUR);

    let process = pond.process().unwrap();
    assert_eq!((process.running, process.running_max), (6, 7));
    assert_eq!((process.blocking, process.blocking_max, process.stuck), (2, 3, 0));
    assert_eq!((process.opened_at, process.uptime), (start, HOUR));
    let shown = serde_json::to_value(process).unwrap();
    assert_eq!((&shown["uptime_seconds"], &shown["running"]), (&json!(3600.0), &json!(6)));

    pond.set_max_running(5).unwrap();
    assert_eq!((pond.process().unwrap().running, pond.process().unwrap().running_max), (6, 5));
    keeper.let_go(4);
    drop(sender);
    drained(&pond).await;
    assert_eq!((pond.process().unwrap().running, pond.process().unwrap().blocking), (0, 0));
}

#[tokio::test]
async fn the_storage_is_serialized_with_seconds_and_a_path_as_text() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let shown = serde_json::to_value(pond.storage().unwrap()).unwrap();
    assert_eq!(shown["path"], json!(disk.path().to_str().unwrap()));
    assert_eq!((&shown["commit_seconds_total"], &shown["used_bytes"]), (&json!(0.0), &json!(null)));
    assert!(shown["file_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    close(pond.clone()).await;
    assert_eq!(pond.storage().unwrap().file_bytes, None);
    assert!(!matches!(pond.process(), Err(Error::Closed)), "its counters are still there");
}
