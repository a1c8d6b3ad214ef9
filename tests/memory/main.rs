//! Counts the bytes that are allocated while many large jobs are moved, listed or removed. The file holds many times as
//! much.
//!
//! A binary of its own, because it counts what the whole process allocates. Its tests run one after the other.

mod counted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use counted::peak_during;
use millpond::testing::{self, ManualClock};
use millpond::{Error, Job, JobFilter, Keep, Millpond, NewJob, Outcome, Pace, QueueSettings, Retention, State};
use redb::TableDefinition;

const MIB: usize = 1 << 20;

/// One job's payload, in bytes.
const PAYLOAD: usize = MIB - 1_024;

/// The number of large jobs in the file.
const JOBS: usize = 200;

/// The most bytes that are allowed at a time above what an idle queue needs: redb's cache, one call or one page,
/// and one batch.
const HELD_MAX: usize = 64 * MIB;

const HOUR: Duration = Duration::from_secs(3600);

/// Only one of these tests is allowed to allocate at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|e| e.into_inner())
}

struct Large {
    _alone: MutexGuard<'static, ()>,
    _dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    clock: ManualClock,
    pond: Millpond,
}

impl Large {
    /// An empty file on the disk, with a small cache.
    fn new() -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let builder = Millpond::builder().clock(clock.clone()).seed(0).runtime(runtime.handle().clone());
        let builder = builder.cache_bytes(8 * MIB).compaction(false);
        let pond = builder.open(dir.path().join("jobs.redb")).unwrap();
        Self { _alone: alone, _dir: dir, runtime, clock, pond }
    }

    fn fill(&self, queues: usize, make: impl Fn(NewJob) -> NewJob) {
        let payload = Bytes::from(vec![7; PAYLOAD]);
        for queue in 0..queues {
            let mut left = JOBS / queues;
            while left > 0 {
                let now = left.min(10);
                let jobs = (0..now).map(|_| make(NewJob::raw("large", payload.clone())));
                self.pond.enqueue_many(&format!("q{queue}"), jobs).wait().unwrap();
                left -= now;
            }
        }
    }

    /// Starts a worker whose handler only counts.
    fn work(&self) -> Arc<AtomicUsize> {
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        let handler = move |job: Job<Bytes>| {
            assert_eq!(job.len(), PAYLOAD);
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        };
        self.pond.worker("q0").concurrency(2).handle_raw("large", handler).start().unwrap();
        ran
    }

    /// Makes all jobs dead letters.
    fn dead() -> Self {
        let large = Self::new();
        large.fill(1, |job| job);
        let die = |_: Job<Bytes>| async { Ok(Outcome::dead_letter("enough of it")) };
        let worker = large.pond.worker("q0").concurrency(2).handle_raw("large", die).start().unwrap();
        let drained = large.runtime.block_on(testing::drain(&large.pond));
        assert_eq!(drained.dead, JOBS as u64);
        worker.stop();
        large
    }

    #[track_caller]
    fn holds_little<T>(&self, what: impl FnOnce() -> T) -> T {
        let (peak, value) = peak_during(what);
        assert!(peak <= HELD_MAX, "{} MiB were held, at most {} may be", peak / MIB, HELD_MAX / MIB);
        value
    }
}

#[test]
fn jobs_that_are_due_at_once_are_made_ready_a_few_at_a_time() {
    let large = Large::new();
    large.fill(1, |job| job.delay(HOUR));
    let ran = large.work();
    large.clock.advance(HOUR);
    let drained = large.holds_little(|| large.runtime.block_on(testing::drain(&large.pond)));
    assert_eq!((drained.completed, ran.load(Ordering::SeqCst)), (JOBS as u64, JOBS));
}

#[test]
fn jobs_of_many_queues_that_are_due_at_once_are_made_ready_a_few_at_a_time() {
    let large = Large::new();
    large.fill(50, |job| job.delay(HOUR));
    large.clock.advance(HOUR);
    // Without workers: the window of each queue that has one can hold another 2 MiB.
    large.holds_little(|| large.runtime.block_on(large.pond.testing().idle()));
    let pending: u64 = large.pond.queues().iter().map(|queue| queue.counts().pending).sum();
    assert_eq!(pending, JOBS as u64);
}

#[test]
fn groups_that_are_due_at_once_are_made_ready_a_few_at_a_time() {
    let large = Large::new();
    let (next, payload) = (std::cell::Cell::new(0), Bytes::from(vec![7; PAYLOAD]));
    large.fill(1, |_| {
        next.set(next.get() + 1);
        NewJob::raw("large", payload.clone()).group(format!("g{}", next.get())).delay(HOUR)
    });
    let ran = large.work();
    large.clock.advance(HOUR);
    let drained = large.holds_little(|| large.runtime.block_on(testing::drain(&large.pond)));
    assert_eq!((drained.completed, ran.load(Ordering::SeqCst)), (JOBS as u64, JOBS));
}

#[test]
fn dead_letters_are_listed_counted_redriven_and_purged_a_few_at_a_time() {
    let large = Large::dead();
    let dead = large.pond.dead_letters();
    let filter = JobFilter::new().queue("q0").error_contains("enough");
    assert_eq!(large.holds_little(|| dead.count(&filter)).unwrap(), JOBS as u64);

    let page = large.holds_little(|| dead.list(&filter, None, 1_000)).unwrap();
    assert!(!page.jobs.is_empty() && page.jobs.len() < JOBS && page.next.is_some(), "{} jobs", page.jobs.len());
    drop(page);
    let (mut cursor, mut seen) = (None, 0);
    loop {
        let page = large.holds_little(|| large.pond.jobs(&JobFilter::new(), cursor.take(), 1_000)).unwrap();
        seen += page.jobs.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, JOBS);
    let none = JobFilter::new().kind("none");
    let found = large.holds_little(|| large.pond.jobs(&none, None, 1_000)).unwrap();
    assert_eq!(found.jobs.len(), 0);

    assert!(large.holds_little(|| large.pond.verify().wait()).unwrap().is_ok());

    let purged = large.holds_little(|| dead.purge_all(&filter).wait()).unwrap();
    assert_eq!((purged, large.pond.queue("q0").unwrap().counts().dead), (JOBS as u64, 0));
}

#[test]
fn all_dead_letters_are_redriven_a_few_at_a_time() {
    for pace in [Pace::at_once(), Pace::per_second(1_000)] {
        let large = Large::dead();
        let redriven = large.holds_little(|| large.pond.dead_letters().redrive_all(&JobFilter::new(), pace).wait());
        assert_eq!(redriven.unwrap(), JOBS as u64);
        let counts = large.pond.queue("q0").unwrap().counts();
        assert_eq!((counts.dead, counts.pending + counts.scheduled), (0, JOBS as u64));
        let due: Vec<_> = testing::all_enqueued(&large.pond, "q0").iter().filter_map(|job| job.run_at).collect();
        let apart = if pace == Pace::at_once() { 0 } else { JOBS - 1 };
        assert_eq!(due.len(), apart, "each has its own time, but for the first");
    }
}

#[test]
fn retention_removes_jobs_a_few_at_a_time() {
    let large = Large::dead();
    let keep = Retention::default().dead(Keep::new(Duration::MAX, 1));
    let configured = large.pond.queue("q0").unwrap().configure(QueueSettings::default().retention(keep));
    configured.wait().unwrap();
    let dead = || large.pond.queue("q0").unwrap().counts().dead;
    large.holds_little(|| {
        for _ in 0..1_000 {
            large.clock.advance(Duration::from_secs(60));
            large.runtime.block_on(large.pond.testing().idle());
            if dead() == 1 {
                break;
            }
        }
    });
    assert_eq!(dead(), 1);
}

#[test]
fn a_call_with_too_many_jobs_is_refused_before_they_are_collected() {
    let large = Large::new();
    let pulled = std::cell::Cell::new(0);
    let endless = |payload: Bytes| {
        pulled.set(0);
        let pulled = &pulled;
        std::iter::repeat_with(move || {
            pulled.set(pulled.get() + 1);
            assert!(pulled.get() <= 20_000, "the call has read too many jobs");
            NewJob::raw("large", payload.clone())
        })
    };
    let small = Bytes::from_static(b"x");
    let refused = large.holds_little(|| large.pond.enqueue_many("q0", endless(small.clone())).wait());
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 10_001, .. })), "{refused:?}");
    assert_eq!(pulled.get(), 10_001);
    let several = endless(small).map(|job| ("q0", job));
    let refused = large.holds_little(|| large.pond.enqueue_all(several).wait());
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 10_001, .. })), "{refused:?}");

    let big = Bytes::from(vec![7; PAYLOAD]);
    let refused = large.holds_little(|| large.pond.enqueue_many("q0", endless(big.clone())).wait());
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 33, .. })), "{refused:?}");
    assert_eq!(pulled.get(), 33);
    let several = endless(big).map(|job| ("q0", job));
    let refused = large.holds_little(|| large.pond.enqueue_all(several).wait());
    assert!(matches!(refused, Err(Error::BatchTooLarge { jobs: 33, .. })), "{refused:?}");
    assert_eq!(large.pond.queue("q0").unwrap().counts().enqueued_total, 0);
}

const ROWS: TableDefinition<u64, &str> = TableDefinition::new("rows");

#[test]
fn a_transaction_with_too_many_jobs_is_refused_and_leaves_nothing() {
    let large = Large::new();
    for (payload, jobs_max) in [(Bytes::from_static(b"x"), 10_000), (Bytes::from(vec![7; PAYLOAD]), 32)] {
        let job = move || NewJob::raw("large", payload.clone());
        let (in_closure, in_guard) = (job.clone(), job);
        let refused = large.holds_little(|| {
            let closure = move |tx: &millpond::Transaction<'_>| {
                tx.open_table(ROWS)?.insert(1, "one")?;
                for _ in 0..jobs_max {
                    tx.enqueue("q0", in_closure())?;
                }
                let refused = tx.enqueue("q0", in_closure());
                assert!(matches!(refused, Err(Error::BatchTooLarge { .. })), "{refused:?}");
                Ok(refused.map(drop)?)
            };
            large.pond.transaction(closure).wait()
        });
        assert!(matches!(refused, Err(Error::Aborted { .. })), "{refused:?}");

        large.holds_little(|| {
            let mut guard = large.pond.begin_write().unwrap();
            for _ in 0..jobs_max {
                guard.enqueue("q0", in_guard()).unwrap();
            }
            let refused = guard.enqueue("q0", in_guard());
            assert!(matches!(refused, Err(Error::BatchTooLarge { .. })), "{refused:?}");
        });
    }
    assert_eq!(large.pond.queue("q0").unwrap().counts().enqueued_total, 0);
}

#[test]
fn closures_that_enqueue_much_share_no_commit_that_is_too_large() {
    let large = Large::new();
    let payload = Bytes::from(vec![7; PAYLOAD]);
    // All of them wait for the writer while the first is committed.
    let gather = large.pond.begin_write().unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let payload = payload.clone();
            large.pond.transaction(move |tx| {
                for _ in 0..25 {
                    tx.enqueue("q0", NewJob::raw("large", payload.clone()))?;
                }
                Ok(())
            })
        })
        .collect();
    let waiting: Vec<_> = calls.into_iter().map(|call| std::thread::spawn(move || call.wait())).collect();
    let (peak, ()) = peak_during(|| {
        while large.pond.testing().inbox() < 8 {
            std::thread::yield_now();
        }
        drop(gather);
        for thread in waiting {
            thread.join().unwrap().unwrap();
        }
    });
    assert!(peak <= 80 * MIB, "{} MiB were held", peak / MIB);
    assert_eq!(large.pond.queue("q0").unwrap().counts().pending, 200);
}

#[test]
fn the_jobs_of_one_state_are_read_without_those_of_others() {
    let large = Large::new();
    large.fill(1, |job| job);
    let running = JobFilter::new().state(State::Running);
    let found = large.holds_little(|| large.pond.jobs(&running, None, 1_000)).unwrap();
    assert_eq!(found.jobs.len(), 0);
}
