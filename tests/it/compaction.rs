//! The file shrinks by itself at a moment when it is not in use, and churn does not make it grow.

use std::fs;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{Event, Events, Job, Millpond, NewJob, Worker};
use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use crate::support::*;

const MIB: u64 = 1 << 20;

fn big(n: u64) -> NewJob {
    NewJob::raw("big", Bytes::from(vec![n as u8; 1_000]))
}

fn worker(pond: &Millpond) -> Worker {
    pond.worker("q").concurrency(100).handle_raw("big", |_: Job<Bytes>| async { Ok(()) }).start().unwrap()
}

/// Lets the file grow to a dozen MiB, and leaves `left` jobs in it.
async fn grown(pond: &Millpond, left: u64) {
    for chunk in 0..10 {
        pond.enqueue_many("q", (0..1_000).map(|n| big(chunk + n))).await.unwrap();
    }
    pond.enqueue_many("kept", (0..left).map(big)).await.unwrap();
    worker(pond);
    drained(pond).await;
}

/// More than enough quiet minutes for a compaction, even if a caller that waits for the writer to be idle comes in
/// between.
async fn quiet(pond: &Millpond, clock: &ManualClock) {
    quiet_until(pond, clock, || false).await;
}

/// As many of these minutes as pass until `is_done`.
async fn quiet_until(pond: &Millpond, clock: &ManualClock, is_done: impl Fn() -> bool) {
    for _ in 0..12 {
        clock.advance(SECOND * 61);
        settled(pond).await;
        settled(pond).await;
        if is_done() {
            return;
        }
    }
}

/// Waits until the file has been compacted, which a second quiet minute starts, or a later one if a caller that waits for
/// the writer to be idle comes in between.
async fn compacted(pond: &Millpond, clock: &ManualClock, events: &mut Events) -> (u64, u64) {
    let done_before = pond.metrics().compactions_total;
    quiet_until(pond, clock, || pond.metrics().compactions_total > done_before).await;
    assert!(pond.metrics().compactions_total > done_before, "the file is not compacted in many quiet minutes");
    loop {
        if let Some(Ok(Event::Compacted { before, after, .. })) = events.next().await {
            return (before, after);
        }
    }
}

#[tokio::test]
async fn a_drained_file_shrinks_by_itself() {
    let disk = OnDisk::new();
    let pond = disk.open();
    grown(&pond, 10).await;
    let large = fs::metadata(disk.path()).unwrap().len();
    assert!(large > 8 * MIB, "{large}");
    let mut events = pond.events();
    let (before, after) = compacted(&pond, &disk.clock, &mut events).await;
    assert_eq!(before, large);
    assert_eq!(after, fs::metadata(disk.path()).unwrap().len());
    assert!(after < 2 * MIB, "{before} bytes became {after}");
    assert_eq!(pond.metrics().compactions_total, 1);
    assert_eq!(pond.queue("kept").unwrap().counts().pending, 10);
    assert_sound(&pond).await;
    // The queue continues.
    pond.enqueue("q", big(1)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
    close(pond).await;
    assert_eq!(disk.open().queue("kept").unwrap().counts().pending, 10);
}

#[tokio::test]
async fn compaction_returns_memory_too() {
    let (clock, pond) = memory();
    grown(&pond, 0).await;
    let mut events = pond.events();
    let (before, after) = compacted(&pond, &clock, &mut events).await;
    // A commit gives the free end of the file back, too, so it can be smaller than it was once.
    assert!(before > 6 * MIB && after < 2 * MIB, "{before} bytes became {after}");
}

#[tokio::test]
async fn a_file_whose_pages_are_mostly_in_use_is_not_compacted() {
    let (clock, pond) = memory();
    grown(&pond, 8_000).await;
    quiet(&pond, &clock).await;
    assert_eq!(pond.metrics().compactions_total, 0, "most of it is in use");
}

#[tokio::test]
async fn compaction_can_be_switched_off() {
    let (clock, pond) = memory_with(|builder| builder.compaction(false));
    grown(&pond, 0).await;
    quiet(&pond, &clock).await;
    assert_eq!(pond.metrics().compactions_total, 0);
}

#[tokio::test]
async fn a_caller_can_compact_a_file_that_is_in_use() {
    let disk = OnDisk::new();
    let pond = disk.builder().compaction(false).open(disk.path()).unwrap();
    grown(&pond, 10).await;
    let large = fs::metadata(disk.path()).unwrap().len();
    let (_worker, mut keeper) = gated(&pond, "slow", 1);
    pond.enqueue("slow", work(1)).await.unwrap();
    keeper.entered().await;
    let reader = pond.begin_read().unwrap();
    assert_eq!(pond.compact().await.unwrap(), None, "a read is under way");
    drop(reader);
    let done = pond.compact().await.unwrap().unwrap();
    assert_eq!((done.before, done.after), (large, fs::metadata(disk.path()).unwrap().len()));
    assert!(done.after < 2 * MIB, "{done:?}");
    assert_eq!(pond.metrics().compactions_total, 1);
    let looking = pond.clone();
    let again = std::thread::spawn(move || looking.compact().wait()).join().unwrap().unwrap();
    assert!(again.is_some_and(|again| again.after <= done.after), "{again:?}");
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.queue("kept").unwrap().counts().pending, 10);
    assert_sound(&pond).await;
    close(pond).await;
}

#[tokio::test]
async fn compaction_is_put_off_while_a_job_runs() {
    let (clock, pond) = memory();
    grown(&pond, 0).await;
    let (_worker, mut keeper) = gated(&pond, "slow", 1);
    pond.enqueue("slow", work(1)).await.unwrap();
    keeper.entered().await;
    quiet(&pond, &clock).await;
    assert_eq!(pond.metrics().compactions_total, 0);
    let mut events = pond.events();
    keeper.let_go(1);
    drained(&pond).await;
    compacted(&pond, &clock, &mut events).await;
}

#[tokio::test]
async fn compaction_is_put_off_while_the_file_is_read_and_does_not_disturb_the_reader() {
    let disk = OnDisk::new();
    let pond = disk.open();
    grown(&pond, 10).await;
    let reader = pond.begin_read().unwrap();
    quiet(&pond, &disk.clock).await;
    assert_eq!(pond.metrics().compactions_total, 0);
    let ready = redb::TableDefinition::<(u32, u8, u64), &[u8]>::new("millpond/ready");
    assert_eq!(redb::ReadableTable::iter(&reader.open_table(ready).unwrap()).unwrap().count(), 10);
    drop(reader);
    let mut events = pond.events();
    compacted(&pond, &disk.clock, &mut events).await;
}

#[tokio::test]
async fn a_file_that_was_read_while_its_jobs_ended_is_compacted() {
    let disk = OnDisk::new();
    let pond = disk.open();
    for _ in 0..10 {
        pond.enqueue_many("q", (0..1_000).map(big)).await.unwrap();
    }
    // It keeps the pages of all jobs. redb frees them with the next commit after its end, which never comes.
    let reader = pond.begin_read().unwrap();
    worker(&pond);
    drained(&pond).await;
    drop(reader);
    let mut events = pond.events();
    let (before, after) = compacted(&pond, &disk.clock, &mut events).await;
    assert!(before > 8 * MIB && after < 2 * MIB, "{before} bytes became {after}");
}

#[tokio::test]
async fn a_call_during_compaction_waits_and_succeeds() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let pond = Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    grown(&pond, 10).await;
    let id = pond.enqueue("kept", big(7)).await.unwrap();
    let mut events = pond.events();
    clock.advance(SECOND * 61);
    settled(&pond).await;
    disk.hold_syncs();
    clock.advance(SECOND * 61);
    // The compaction has begun and has not ended.
    disk.wait_for_sync();
    let (looking, writing) = (pond.clone(), pond.clone());
    let looks = std::thread::spawn(move || looking.job(id).map(|job| job.payload.bytes.len()));
    let writes = std::thread::spawn(move || writing.enqueue("kept", big(8)).wait());
    disk.release_syncs();
    assert_eq!(looks.join().unwrap().unwrap(), 1_000);
    assert!(writes.join().unwrap().unwrap() > id);
    let told = heard(&mut events);
    assert!(told.iter().any(|event| matches!(event, Event::Compacted { .. })), "{told:?}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_shutdown_with_time_left_compacts_the_file() {
    for (deadline, small) in [(SECOND * 10, true), (Duration::ZERO, false)] {
        let disk = OnDisk::new();
        let pond = disk.open();
        grown(&pond, 10).await;
        pond.shutdown(deadline).await.unwrap();
        let bytes = fs::metadata(disk.path()).unwrap().len();
        assert_eq!(bytes < 2 * MIB, small, "{bytes} bytes after {deadline:?}");
        let pond = disk.open();
        assert_eq!(pond.queue("kept").unwrap().counts().pending, 10);
        assert_sound(&pond).await;
    }
}

/// A disk in memory that keeps, at intervals, what a kill would leave, while it is armed.
#[derive(Clone, Debug)]
struct Recorder {
    memory: Arc<InMemoryBackend>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    armed: bool,
    operations: usize,
    images: Vec<Vec<u8>>,
}

/// One image is kept in this many operations.
const OPERATIONS_PER_IMAGE: usize = 29;

impl Recorder {
    fn new() -> Self {
        Self { memory: Arc::new(InMemoryBackend::new()), seen: Arc::default() }
    }

    fn note(&self) {
        let mut seen = self.seen.lock().unwrap();
        if seen.armed {
            if seen.operations.is_multiple_of(OPERATIONS_PER_IMAGE) {
                let mut image = vec![0; self.memory.len().unwrap() as usize];
                self.memory.read(0, &mut image).unwrap();
                seen.images.push(image);
            }
            seen.operations += 1;
        }
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)?;
        self.note();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)?;
        self.note();
        Ok(())
    }
}

#[tokio::test]
async fn a_kill_during_compaction_loses_nothing() {
    let (disk, clock) = (Recorder::new(), ManualClock::new());
    let pond = Millpond::builder().clock(clock.clone()).open_backend(disk.clone()).unwrap();
    grown(&pond, 300).await;
    let mut events = pond.events();
    disk.seen.lock().unwrap().armed = true;
    compacted(&pond, &clock, &mut events).await;
    let images = {
        let mut seen = disk.seen.lock().unwrap();
        seen.armed = false;
        std::mem::take(&mut seen.images)
    };
    assert!(images.len() > 3, "{}", images.len());
    for (n, image) in images.into_iter().enumerate() {
        let copy = InMemoryBackend::new();
        copy.set_len(image.len() as u64).unwrap();
        copy.write(0, &image).unwrap();
        let pond = Millpond::builder().clock(clock.clone()).verify_on_open().open_backend(copy).unwrap();
        assert_eq!(pond.queue("kept").unwrap().counts().pending, 300, "image {n}");
        assert_sound(&pond).await;
        assert!(pond.enqueue("kept", big(1)).await.is_ok());
    }
}

/// The size of the file after it was filled to a depth of 1,000 jobs, and after `jobs` more passed through it.
async fn churn(jobs: u64) -> (u64, u64) {
    let disk = OnDisk::new();
    let pond = disk.open();
    let bytes = || fs::metadata(disk.path()).unwrap().len();
    pond.enqueue_many("q", (0..1_000).map(big)).await.unwrap();
    let filled = bytes();
    let mut largest = filled;
    worker(&pond);
    for _ in 0..jobs / 1_000 {
        drained(&pond).await;
        pond.enqueue_many("q", (0..1_000).map(big)).await.unwrap();
        largest = largest.max(bytes());
    }
    (filled, largest)
}

#[tokio::test]
async fn churn_at_a_constant_depth_does_not_grow_the_file() {
    let (filled, largest) = churn(50_000).await;
    assert!(largest <= 4 * filled, "{filled} bytes at first, {largest} later");
}

/// `cargo test --release --test it -- --ignored churn_of_a_million --nocapture`
#[tokio::test]
#[ignore = "minutes"]
async fn churn_of_a_million_jobs_at_a_depth_of_a_thousand_does_not_grow_the_file() {
    let (filled, largest) = churn(1_000_000).await;
    println!("{filled} bytes with the first 1,000 jobs, at most {largest} in 1,000,000");
    assert!(largest <= 4 * filled, "{filled} bytes at first, {largest} later");
}
