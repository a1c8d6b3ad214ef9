//! Token buckets: no window has more starts than the rate allows, across a restart too, and the rate never stops a
//! queue for good.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Clock, Error, Job, Millpond, NewJob, Outcome, Rate, State};

use crate::support::*;

type Starts = Log<Duration>;

/// Records when each job starts, in the clock's monotonic time.
fn limited(pond: &Millpond, clock: &ManualClock, rate: Rate) -> Starts {
    let starts = Starts::new();
    let (log, clock) = (starts.clone(), clock.clone());
    pond.worker("q")
        .concurrency(100)
        .rate_limit(rate)
        .handle(move |_: Job<Work>| {
            log.push(clock.monotonic());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    starts
}

/// Asserts for every window of length `w`: starts <= burst + rate x w.
fn assert_within(starts: &[Duration], per_second: f64, burst: f64) {
    for (first, from) in starts.iter().enumerate() {
        for (last, to) in starts.iter().enumerate().skip(first) {
            let allowed = burst + per_second * (*to - *from).as_secs_f64();
            let seen = (last - first + 1) as f64;
            assert!(seen <= allowed + 1e-6, "{seen} starts from {from:?} to {to:?}, {allowed} are allowed");
        }
    }
}

#[tokio::test]
async fn no_window_has_more_starts_than_burst_plus_rate_and_all_jobs_start_in_time() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::per_second(100).burst(5));
    pond.enqueue_many("q", (0..75).map(work)).await.unwrap();
    for step in 0..120 {
        pond.testing().idle().await;
        clock.advance(Duration::from_millis([7, 1, 13][step % 3]));
    }
    assert_within(&starts.all(), 100.0, 5.0);
    assert_eq!(starts.len(), 75);
    assert!(*starts.all().last().unwrap() <= Duration::from_millis(800), "{:?}", starts.all().last());
}

#[tokio::test]
async fn at_most_a_burst_of_tokens_is_saved() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::per_minute(60).burst(10));
    clock.advance(HOUR);
    pond.enqueue_many("q", (0..50).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 10);
    clock.advance(SECOND * 2);
    drained(&pond).await;
    assert_eq!(starts.len(), 12);
    assert_within(&starts.all(), 1.0, 10.0);
}

#[tokio::test]
async fn a_restart_does_not_refill_the_bucket() {
    let disk = OnDisk::new();
    let rate = Rate::per_minute(1).burst(3);
    let pond = disk.open();
    let starts = limited(&pond, &disk.clock, rate);
    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 3);
    close(pond).await;

    let pond = disk.open();
    let starts = limited(&pond, &disk.clock, rate);
    drained(&pond).await;
    assert_eq!(starts.len(), 0);
    disk.clock.advance(SECOND * 61);
    drained(&pond).await;
    assert_eq!(starts.len(), 1);
}

#[tokio::test]
async fn a_crash_does_not_refill_the_bucket() {
    let disk = OnDisk::new();
    let rate = Rate::per_second(100).burst(40);
    let pond = disk.open();
    let starts = limited(&pond, &disk.clock, rate);
    pond.enqueue_many("q", (0..200).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 40);
    let after = disk.crashed("copy.redb");
    let again = limited(&after, &disk.clock, rate);
    drained(&after).await;
    assert_eq!(again.len(), 0);
    disk.clock.advance(Duration::from_millis(100));
    drained(&after).await;
    assert_eq!(again.len(), 10);
}

#[tokio::test]
async fn a_crash_after_a_rate_limited_answer_does_not_return_used_tokens() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let rate = Rate::per_second(1_000).burst(100);
    let starts = Log::new();
    let log = starts.clone();
    pond.worker("q")
        .concurrency(1)
        .rate_limit(rate)
        .handle(move |_: Job<Work>| {
            log.push(());
            let busy = log.len() == 1;
            async move { if busy { Ok(Outcome::rate_limited(Duration::ZERO)) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..49).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 1);
    // The shortest hold is over, and the bucket is full.
    disk.clock.advance(Outcome::SNOOZE_MIN);
    drained(&pond).await;
    assert_eq!(starts.len(), 50);
    let after = disk.crashed("copy.redb");
    let again = limited(&after, &disk.clock, rate);
    after.enqueue_many("q", (0..100).map(work)).await.unwrap();
    drained(&after).await;
    assert!(again.len() <= 51, "{} more, of 100 tokens of which 49 are used", again.len());
}

#[tokio::test]
async fn the_next_worker_of_a_queue_has_the_bucket_of_the_one_before() {
    let (clock, pond) = memory();
    let starts = Starts::new();
    for _ in 0..3 {
        let (log, now) = (starts.clone(), clock.clone());
        let worker = pond
            .worker("q")
            .rate_limit(Rate::per_hour(1).burst(2))
            .handle(move |_: Job<Work>| {
                log.push(now.monotonic());
                async { Ok(()) }
            })
            .start()
            .unwrap();
        pond.enqueue("q", work(1)).await.unwrap();
        drained(&pond).await;
        worker.stop();
    }
    assert_eq!(starts.len(), 2);
}

#[tokio::test]
async fn a_rate_limited_answer_holds_the_queue_and_uses_no_attempt() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            seen.push((job.n, job.attempt()));
            let busy = seen.len() == 1;
            async move { if busy { Ok(Outcome::rate_limited(SECOND * 30)) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    let mut events = pond.events();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [(1, 1)]);
    let queue = pond.queue("q").unwrap();
    assert_eq!(queue.rate().available_in(), Some(SECOND * 30));
    assert_eq!(pond.job(id).unwrap().attempts, 0);
    assert!(heard(&mut events).iter().any(|event| matches!(event, millpond::Event::RateLimited { group: None, .. })));
    clock.advance(SECOND * 29);
    drained(&pond).await;
    assert_eq!(log.len(), 1);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [(1, 1), (1, 1), (2, 1)], "its place is kept");
    assert_eq!(queue.counts().failures_total, 0);
}

#[tokio::test]
async fn a_rate_limited_answer_of_a_group_holds_only_that_group() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            let busy = job.n == 1 && seen.all().iter().filter(|n| **n == 1).count() == 1;
            async move { if busy { Ok(Outcome::rate_limited(SECOND)) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", [member("a", 1), member("a", 2), member("b", 3), work(4)]).await.unwrap();
    drained(&pond).await;
    let mut first = log.take();
    first.sort_unstable();
    assert_eq!(first, [1, 3, 4]);
    log.push(1);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [1, 1, 2]);
}

#[tokio::test]
async fn a_hold_survives_a_restart() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::rate_limited(HOUR)) }).start().unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    close(pond).await;
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    disk.clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_hold_without_an_end_survives_a_restart_and_can_be_lifted() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::rate_limited(Duration::MAX)) }).start().unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    disk.clock.advance(HOUR);
    close(pond).await;
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    pond.queue("q").unwrap().rate().reset().await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn tokens_taken_by_a_call_are_not_available_to_the_worker() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::per_minute(60).burst(5));
    let bucket = pond.queue("q").unwrap().rate();
    assert_eq!(bucket.available(), 5.0);
    bucket.take(4).await.unwrap();
    assert_eq!(bucket.available(), 1.0);
    match bucket.take(2).await {
        Err(Error::RateLimited { retry_in, .. }) => assert!(retry_in > Duration::ZERO && retry_in <= SECOND + SECOND),
        other => panic!("{other:?}"),
    }
    assert_eq!(bucket.available(), 1.0, "nothing was taken");
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 1);
    bucket.reset().await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 3);
}

#[tokio::test]
async fn a_worker_without_a_rate_has_unlimited_tokens_and_take_without_a_worker_is_refused() {
    let (_, pond) = memory();
    let bucket = pond.queue("q").unwrap().rate();
    assert_eq!((bucket.available(), bucket.available_in()), (f64::INFINITY, None));
    assert!(matches!(bucket.take(1).await, Err(Error::NoWorker { queue, .. }) if queue == "q"));
    let worker = pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    bucket.take(1_000_000).await.unwrap();
    worker.stop().await.unwrap();
    assert!(matches!(bucket.take(1).await, Err(Error::NoWorker { .. })));
}

#[tokio::test]
async fn using_a_bucket_that_no_worker_limits_does_not_empty_it_for_a_later_worker() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let worker = pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.queue("q").unwrap().rate().take(1).await.unwrap();
    worker.stop().await.unwrap();
    pond.queue("q").unwrap().rate().reset().await.unwrap();
    close(pond).await;
    let pond = disk.open();
    let starts = limited(&pond, &disk.clock, Rate::per_hour(1).burst(5));
    pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 5);
}

/// A file whose queue has two jobs left and an empty bucket of this rate.
async fn with_an_empty_bucket() -> (OnDisk, Rate) {
    let disk = OnDisk::new();
    let rate = Rate::per_hour(1).burst(2);
    let pond = disk.open();
    let starts = limited(&pond, &disk.clock, rate);
    pond.enqueue_many("q", (0..4).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 2);
    close(pond).await;
    (disk, rate)
}

#[tokio::test]
async fn a_reset_before_the_worker_starts_fills_the_bucket_too() {
    let (disk, rate) = with_an_empty_bucket().await;
    let pond = disk.open();
    pond.queue("q").unwrap().rate().reset().await.unwrap();
    let starts = limited(&pond, &disk.clock, rate);
    drained(&pond).await;
    assert_eq!(starts.len(), 2);
}

#[tokio::test]
async fn reading_a_bucket_before_the_worker_starts_does_not_fill_it() {
    let (disk, rate) = with_an_empty_bucket().await;
    let pond = disk.open();
    let bucket = pond.queue("q").unwrap().rate();
    assert_eq!((bucket.available(), bucket.available_in()), (f64::INFINITY, None));
    assert!(matches!(bucket.take(1).await, Err(Error::NoWorker { .. })));
    let starts = limited(&pond, &disk.clock, rate);
    drained(&pond).await;
    assert_eq!(starts.len(), 0);
}

#[tokio::test]
async fn resetting_a_bucket_lifts_a_hold() {
    let (_, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .handle(move |_: Job<Work>| {
            seen.push(());
            let busy = seen.len() == 1;
            async move { if busy { Ok(Outcome::rate_limited(HOUR)) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().rate().reset().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.len(), 2);
}

#[tokio::test]
async fn cancelled_paused_dead_and_unknown_jobs_do_not_block_the_limiter() {
    let (clock, pond) = memory();
    let starts = Starts::new();
    let (log, now) = (starts.clone(), clock.clone());
    pond.worker("q")
        .concurrency(3)
        .rate_limit(Rate::per_second(10))
        .handle(move |job: Job<Work>| {
            log.push(now.monotonic());
            async move { if job.n.is_multiple_of(5) { Ok(Outcome::dead_letter("x")) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (0..60).map(work)).await.unwrap();
    pond.enqueue_many("q", (0..20).map(|_| NewJob::raw("unknown", ""))).await.unwrap();
    for id in ids.iter().skip(30) {
        pond.cancel(*id, "x").await.unwrap();
    }
    let queue = pond.queue("q").unwrap();
    for step in 0..60 {
        pond.testing().idle().await;
        match step {
            10 => assert!(queue.pause().await.unwrap()),
            20 => {
                assert!(queue.resume().await.unwrap());
                // The handler records its start, possibly later than the start itself.
                pond.testing().idle().await;
            }
            _ => {}
        }
        clock.advance(Duration::from_millis(100));
    }
    drained(&pond).await;
    assert_eq!(starts.len(), 30);
    assert_within(&starts.all(), 10.0, 1.0);
    assert!(ids[..30].iter().all(|id| pond.job(*id).is_err() || state(&pond, *id) == State::Dead));
}

#[tokio::test]
async fn a_reserved_token_does_not_add_to_the_burst() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::per_second(1).burst(2));
    // The worker reserves a token and then finds no job that it can start.
    pond.enqueue("q", NewJob::raw("unknown", "")).await.unwrap();
    drained(&pond).await;
    clock.advance(HOUR);
    pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(starts.len(), 2);
}

#[tokio::test]
async fn a_rate_of_one_in_a_day_starts_one_job_each_day() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::new(1, HOUR * 24));
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    for expected in 1..=3 {
        drained(&pond).await;
        assert_eq!(starts.len(), expected);
        clock.advance(HOUR * 24 - Duration::from_millis(1));
        drained(&pond).await;
        assert_eq!(starts.len(), expected);
        clock.advance(Duration::from_millis(2));
    }
    assert_within(&starts.all(), 1.0 / 86_400.0, 1.0);
}

#[tokio::test]
async fn a_clock_set_back_neither_stops_nor_speeds_up_a_rate() {
    let (clock, pond) = memory();
    let starts = limited(&pond, &clock, Rate::per_second(10));
    pond.enqueue_many("q", (0..40).map(work)).await.unwrap();
    let wall = clock.wall();
    for step in 0..40u32 {
        pond.testing().idle().await;
        match step {
            10 => clock.set_wall(wall - HOUR * 87_600),
            20 => clock.set_wall(wall + HOUR * 87_600),
            30 => clock.set_wall(wall),
            _ => {}
        }
        clock.advance(Duration::from_millis(100));
    }
    drained(&pond).await;
    assert_eq!(starts.len(), 40);
    assert_within(&starts.all(), 10.0, 1.0);
}
