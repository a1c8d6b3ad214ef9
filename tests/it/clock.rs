//! Clocks that jump: no job starts early, and none is delayed.

use std::time::{Duration, UNIX_EPOCH};

use millpond::{Clock, Job, Millpond, Retry, State, Timestamp};

use crate::support::*;

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn at(time: Timestamp) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(time.as_millis())
}

#[tokio::test]
async fn a_clock_set_back_ten_years_does_not_stall_delays_and_retries() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .retry(Retry::fixed(SECOND * 5).jitter(0.0))
        .handle(move |job: Job<Work>| {
            seen.push((job.n, job.attempt()));
            async move { if job.n == 1 && job.attempt() == 1 { Err("once".into()) } else { Ok(()) } }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    pond.enqueue("q", work(2).delay(SECOND * 10)).await.unwrap();
    drained(&pond).await;
    clock.set_wall(clock.wall() - TEN_YEARS);
    pond.enqueue("q", work(3).delay(SECOND * 3)).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [(1, 1)]);
    clock.advance(SECOND * 3);
    drained(&pond).await;
    assert_eq!(log.take(), [(3, 1)]);
    clock.advance(SECOND * 2);
    drained(&pond).await;
    assert_eq!(log.take(), [(1, 2)]);
    clock.advance(SECOND * 5);
    drained(&pond).await;
    assert_eq!(log.take(), [(2, 1)]);
}

#[tokio::test]
async fn a_job_for_a_wall_clock_time_starts_at_that_time_however_the_clock_jumps() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    let due = clock.wall() + HOUR;
    pond.enqueue("q", work(1).run_at(at(due))).await.unwrap();
    clock.set_wall(clock.wall() - TEN_YEARS);
    clock.advance(HOUR * 2);
    drained(&pond).await;
    assert_eq!(ran.len(), 0, "it started early");
    clock.set_wall(due - Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.set_wall(due);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_clock_set_forward_makes_a_retry_due_only_once() {
    let (clock, pond) = memory();
    let attempts = Log::new();
    let seen = attempts.clone();
    pond.worker("q")
        .retry(Retry::fixed(SECOND * 5).jitter(0.0).max_attempts(100))
        .handle(move |job: Job<Work>| {
            seen.push(job.attempt());
            async { Err::<(), _>("always".into()) }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    clock.set_wall(clock.wall() + TEN_YEARS);
    drained(&pond).await;
    assert_eq!(attempts.all(), [1, 2], "once, and not for every five seconds of ten years");
    clock.set_wall(clock.wall() - TEN_YEARS);
    drained(&pond).await;
    assert_eq!(attempts.len(), 2);
    clock.advance(SECOND * 5);
    drained(&pond).await;
    assert_eq!(attempts.len(), 3, "and it does not wait for ten years now");
}

#[tokio::test]
async fn jumps_back_and_forth_never_start_a_job_early() {
    let (clock, pond) = memory();
    let starts = Log::new();
    let (log, now) = (starts.clone(), clock.clone());
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            log.push((job.n, now.wall()));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    let base = clock.wall();
    for n in 0..20u64 {
        pond.enqueue("q", work(n).run_at(at(base + SECOND * (n as u32)))).await.unwrap();
    }
    for offset in [3u64, 1, 7, 0, 2, 12, 5, 25] {
        clock.set_wall(base + SECOND * (offset as u32));
        drained(&pond).await;
    }
    let starts = starts.all();
    assert_eq!(starts.len(), 20);
    assert!(starts.iter().all(|(n, wall)| *wall >= base + SECOND * (*n as u32)), "{starts:?}");
}

#[tokio::test]
async fn a_restart_with_the_clock_set_back_keeps_delays() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1).delay(SECOND * 10)).await.unwrap();
    disk.clock.advance(SECOND * 4);
    pond.enqueue("q", work(2)).await.unwrap();
    close(pond).await;
    disk.clock.set_wall(disk.clock.wall() - TEN_YEARS);
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.take(), [2]);
    disk.clock.advance(SECOND * 5);
    drained(&pond).await;
    assert_eq!(ran.len(), 0, "not early");
    disk.clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.all(), [1], "and not ten years late");
}

#[tokio::test]
async fn a_delay_keeps_running_while_the_process_is_down() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    close(pond).await;
    disk.clock.advance(HOUR);
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_timeout_ignores_the_wall_clock() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .timeout(SECOND * 10)
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    for wall in [clock.wall() + TEN_YEARS, clock.wall() - TEN_YEARS] {
        clock.set_wall(wall);
        settled(&pond).await;
        assert_eq!(state(&pond, id), State::Running);
    }
    keeper.let_go(1);
    assert_eq!(drained(&pond).await.completed, 1);
}

#[tokio::test]
async fn thousands_of_jobs_due_at_once_do_not_delay_another_queue() {
    let (clock, pond) = memory();
    let late = record(&pond, "late", 50);
    let other = record(&pond, "other", 1);
    pond.enqueue_many("late", (0..2_500).map(|n| work(n).delay(SECOND))).await.unwrap();
    clock.advance(SECOND);
    pond.enqueue("other", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!((late.len(), other.all()), (2_500, vec![1]));
}

#[tokio::test]
async fn a_delayed_job_runs_with_the_system_clock() {
    let disk = OnDisk::new();
    let pond = Millpond::open(disk.path()).unwrap();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1).delay(Duration::from_millis(20))).await.unwrap();
    assert_eq!(keeper.entered().await, 1);
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn the_greatest_time_does_not_panic() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    settled(&pond).await;
    clock.advance(Duration::MAX);
    drained(&pond).await;
    clock.advance(Duration::MAX);
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!((ran.all()[0], ran.all().last()), (1, Some(&2)));
    close(pond).await;
}

#[test]
fn setting_the_clock_of_a_closed_queue_does_not_block() {
    in_time("a read of the time after the close", || {
        let clock = millpond::testing::ManualClock::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let builder = Millpond::builder().clock(clock.clone()).runtime(runtime.handle().clone());
        let memory = millpond_testkit::SimDisk::new();
        let (pond, mut steps) = millpond::testing::open_stepped(builder, move || Ok(memory.clone())).unwrap();
        steps.dispatch();
        steps.begin_stop();
        steps.take_back();
        while steps.write() {}
        assert!(steps.is_closed());
        // The writer has ended, so it cannot be asked to record this.
        clock.set_wall(millpond::Timestamp::EPOCH);
        runtime.block_on(pond.testing().idle());
    });
}
