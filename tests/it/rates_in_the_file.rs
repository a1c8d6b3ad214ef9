//! The rows of rates in the file: as much as a later process needs, under the right name, and no longer.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Clock, Explanation, Job, Millpond, Outcome, Rate};
use redb::{ReadableTableMetadata, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<(u32, &str), &[u8]> = TableDefinition::new("millpond/rates");

fn rows(pond: &Millpond) -> u64 {
    pond.begin_read().unwrap().open_table(ROWS).unwrap().len().unwrap()
}

fn limited(pond: &Millpond, queue: &str, rate: Rate) -> Log<u64> {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    pond.worker(queue).concurrency(100).rate_limit(rate).handle(handler).start().unwrap();
    log
}

fn limited_by_group(pond: &Millpond, rate: Rate) -> Log<u64> {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    pond.worker("q").concurrency(100).group_rate_limit(rate).handle(handler).start().unwrap();
    log
}

#[tokio::test]
async fn a_queue_does_not_inherit_the_bucket_of_another_whose_name_was_never_stored() {
    let disk = OnDisk::new();
    let rate = Rate::per_hour(1).burst(5);
    let pond = disk.open();
    limited(&pond, "first", rate);
    pond.queue("first").unwrap().rate().take(5).await.unwrap();
    close(pond).await;

    let pond = disk.open();
    let ran = limited(&pond, "second", rate);
    pond.enqueue_many("second", (0..5).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 5);
    let first = limited(&pond, "first", rate);
    pond.enqueue("first", work(9)).await.unwrap();
    drained(&pond).await;
    assert_eq!(first.len(), 0, "its own tokens are still used up");
}

#[tokio::test]
async fn a_group_does_not_inherit_the_bucket_of_another_queues_group() {
    let disk = OnDisk::new();
    let rate = Rate::per_hour(1).burst(2);
    let pond = disk.open();
    pond.worker("first").group_rate_limit(rate).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.queue("first").unwrap().group_rate("g").unwrap().take(2).await.unwrap();
    close(pond).await;

    let pond = disk.open();
    pond.worker("second").group_rate_limit(rate).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    assert_eq!(pond.queue("second").unwrap().group_rate("g").unwrap().available(), 2.0);
}

/// Calls from several threads, each of which read an older or a newer state of the bucket: whichever is written last,
/// the file must not have a token that was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_taken_by_simultaneous_calls_are_all_gone_after_a_crash() {
    for round in 0..20 {
        let disk = OnDisk::new();
        let rate = Rate::per_hour(1).burst(1_000);
        let pond = disk.open();
        limited(&pond, "q", rate);
        let takes = (0..64).map(|_| {
            let bucket = pond.queue("q").unwrap().rate();
            tokio::spawn(async move { bucket.take(3).await })
        });
        for take in takes.collect::<Vec<_>>() {
            take.await.unwrap().unwrap();
        }
        let after = disk.crashed("copy.redb");
        limited(&after, "q", rate);
        let left = after.queue("q").unwrap().rate().available();
        assert_eq!(left, f64::from(1_000 - 64 * 3), "round {round}");
    }
}

#[tokio::test]
async fn a_rate_limited_answer_does_not_return_tokens_that_were_taken_since() {
    let disk = OnDisk::new();
    let rate = Rate::per_hour(1).burst(10);
    let pond = disk.open();
    pond.worker("q")
        .rate_limit(rate)
        .handle(|_: Job<Work>| async { Ok(Outcome::rate_limited(Duration::from_millis(100))) })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    disk.clock.advance(Duration::from_millis(100));
    pond.queue("q").unwrap().rate().take(5).await.unwrap();
    drained(&pond).await;
    let before = pond.queue("q").unwrap().rate().available();
    let after = disk.crashed("copy.redb");
    after.worker("q").rate_limit(rate).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    let left = after.queue("q").unwrap().rate().available();
    assert!(left <= before && left >= before - 1.0, "{before} before, {left} after");
}

#[tokio::test]
async fn the_rows_of_full_buckets_are_removed_and_others_are_not() {
    let (clock, pond) = memory();
    let ran = limited_by_group(&pond, Rate::per_second(1));
    pond.enqueue_many("q", (0..500).map(|n| member(&format!("g{n}"), n))).await.unwrap();
    drained(&pond).await;
    assert_eq!((ran.len(), rows(&pond)), (500, 500));
    pond.worker("held").handle(|_: Job<Work>| async { Ok(Outcome::rate_limited(HOUR)) }).start().unwrap();
    pond.enqueue("held", work(1)).await.unwrap();
    // Unused reservations expire after a minute, and buckets are checked twice a minute.
    for _ in 0..4 {
        clock.advance(SECOND * 31);
        drained(&pond).await;
    }
    assert_eq!(rows(&pond), 1, "only the hold is left");
    assert!(pond.queue("held").unwrap().rate().available_in().is_some());
}

#[tokio::test]
async fn the_rows_of_more_full_buckets_than_one_scan_covers_are_all_removed() {
    let (clock, pond) = memory();
    let ran = limited_by_group(&pond, Rate::per_second(1));
    pond.enqueue_many("q", (0..5_000).map(|n| member(&format!("g{n}"), n))).await.unwrap();
    drained(&pond).await;
    assert_eq!((ran.len(), rows(&pond)), (5_000, 5_000));
    for _ in 0..4 {
        clock.advance(SECOND * 31);
        drained(&pond).await;
    }
    assert_eq!(rows(&pond), 0);
}

#[tokio::test]
async fn the_rows_of_a_rate_that_is_no_longer_set_are_removed_after_an_hour() {
    let disk = OnDisk::new();
    let pond = disk.open();
    limited_by_group(&pond, Rate::per_hour(1));
    pond.enqueue_many("q", (0..50).map(|n| member(&format!("g{n}"), n))).await.unwrap();
    drained(&pond).await;
    close(pond).await;

    let pond = disk.open();
    record(&pond, "q", 1);
    disk.clock.advance(SECOND * 3_000);
    drained(&pond).await;
    assert_eq!(rows(&pond), 50, "the rate may be set again");
    disk.clock.advance(SECOND * 700);
    drained(&pond).await;
    assert_eq!(rows(&pond), 0);
}

#[tokio::test]
async fn the_rows_of_an_earlier_process_are_removed_once_a_worker_sets_their_rate() {
    let disk = OnDisk::new();
    let pond = disk.open();
    limited_by_group(&pond, Rate::per_second(1));
    pond.enqueue_many("q", (0..50).map(|n| member(&format!("g{n}"), n))).await.unwrap();
    drained(&pond).await;
    close(pond).await;

    let pond = disk.open();
    assert_eq!(rows(&pond), 50);
    disk.clock.advance(SECOND * 90);
    drained(&pond).await;
    assert_eq!(rows(&pond), 50, "without a rate it is unknown whether they are full");
    let ran = limited_by_group(&pond, Rate::per_hour(1).burst(2));
    disk.clock.advance(SECOND * 31);
    drained(&pond).await;
    assert_eq!(rows(&pond), 50, "at this rate they are not full");
    for n in 0..50 {
        assert!(pond.queue("q").unwrap().group_rate(&format!("g{n}")).unwrap().available() < 1.0);
    }
    disk.clock.advance(HOUR * 2);
    drained(&pond).await;
    assert_eq!(rows(&pond), 0);
    pond.enqueue_many("q", (0..3).map(|n| member("g0", n))).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 2);
}

#[tokio::test]
async fn an_orderly_close_leaves_no_rows_of_full_buckets() {
    let disk = OnDisk::new();
    let pond = disk.open();
    limited_by_group(&pond, Rate::per_second(1));
    pond.enqueue_many("q", (0..50).map(|n| member(&format!("g{n}"), n))).await.unwrap();
    drained(&pond).await;
    disk.clock.advance(SECOND * 5);
    pond.enqueue("q", member("g7", 7)).await.unwrap();
    drained(&pond).await;
    close(pond).await;
    assert_eq!(rows(&disk.open()), 1);
}

/// After a crash a head that ran is tried again when its group's rate allows it, and `explain` says when that is.
#[tokio::test]
async fn a_limited_group_whose_head_ran_at_a_crash_continues_when_explain_says_so() {
    let disk = OnDisk::new();
    let rate = Rate::per_second(10);
    let pond = disk.open();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .group_rate_limit(rate)
        .no_timeout()
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", member("g", 1)).await.unwrap();
    assert_eq!(keeper.entered().await, 1);
    starts_written(&pond, &disk.clock).await;

    let after = disk.crashed("copy.redb");
    let ran = limited_by_group(&after, rate);
    settled(&after).await;
    let limited = after.explain(id).unwrap();
    assert!(matches!(limited, Explanation::RateLimited { wait, .. } if wait == Duration::from_millis(100)));
    disk.clock.advance(Duration::from_millis(99));
    settled(&after).await;
    let limited = after.explain(id).unwrap();
    assert!(matches!(limited, Explanation::RateLimited { wait, .. } if wait == Duration::from_millis(1)));
    assert_eq!(ran.len(), 0);
    disk.clock.advance(Duration::from_millis(100));
    drained(&after).await;
    assert_eq!(ran.all(), [1]);
}

async fn drained_after(pond: &Millpond, clock: &ManualClock, ran: &Log<u64>, jobs: usize, step: Duration) {
    let begun = clock.monotonic();
    while ran.len() < jobs {
        pond.testing().settled().await;
        clock.advance(step);
        assert!(clock.monotonic() < begun + SECOND * 60, "{} of {jobs} have started", ran.len());
    }
    drained(pond).await;
}

#[tokio::test]
async fn each_job_of_more_limited_groups_than_a_window_holds_starts() {
    for window in [1, 2, 5, 4_096] {
        let (clock, pond) = memory_with(|builder| builder.window_jobs_max(window));
        let ran = limited_by_group(&pond, Rate::per_second(5));
        let jobs = |from: u64| (from..from + 100).map(|n| member(&format!("g{n}"), n));
        for _ in 0..3 {
            pond.enqueue_many("q", jobs(0).chain(jobs(50))).await.unwrap();
        }
        drained_after(&pond, &clock, &ran, 600, Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn each_large_job_of_many_limited_groups_starts() {
    let (clock, pond) = memory();
    let ran = Log::new();
    let seen = ran.clone();
    let handler = move |job: Job<bytes::Bytes>| {
        seen.push(job.len() as u64);
        async { Ok(()) }
    };
    let worker = pond.worker("q").concurrency(8).group_rate_limit(Rate::per_second(5));
    worker.handle_raw("large", handler).start().unwrap();
    for n in 0..60 {
        let job = || millpond::NewJob::raw("large", vec![7; 400 << 10]).group(format!("g{n}"));
        pond.enqueue_many("q", [job(), job()]).await.unwrap();
    }
    drained_after(&pond, &clock, &ran, 120, Duration::from_millis(50)).await;
}

/// A call that waits for room in the writer's inbox has read the bucket when the call was made; the answer of a
/// handler comes later and is written earlier.
#[tokio::test]
async fn a_hold_is_not_overwritten_by_an_older_state_of_its_bucket() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let open = |disk: SimDisk| Millpond::builder().clock(clock.clone()).open_backend(disk).unwrap();
    let pond = open(disk.clone());
    let rate = Rate::per_hour(1).burst(10);
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .rate_limit(rate)
        .no_timeout()
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(Outcome::rate_limited(HOUR))
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(keeper.entered().await, 1);
    settled(&pond).await;
    disk.hold_syncs();
    // As much as the writer's inbox holds, and more.
    let large = || millpond::NewJob::raw("large", vec![0; 1 << 20]);
    let fill: Vec<_> = (0..70).map(|_| tokio::spawn(pond.enqueue("elsewhere", large()))).collect();
    tokio::task::yield_now().await;
    let bucket = pond.queue("q").unwrap().rate();
    let taken = tokio::spawn(async move { bucket.take(3).await });
    while pond.queue("q").unwrap().rate().available() > 6.5 {
        tokio::task::yield_now().await;
    }
    keeper.let_go(1);
    while pond.queue("q").unwrap().rate().available_in().is_none() {
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    taken.await.unwrap().unwrap();
    for call in fill {
        call.await.unwrap().unwrap();
    }
    settled(&pond).await;

    let after = open(disk.after_kill());
    limited(&after, "q", rate);
    assert!(after.queue("q").unwrap().rate().available_in().is_some(), "the hold is in the file");
}
