//! Ages are elapsed time: setting the wall clock makes no job older and keeps none younger.

use std::time::Duration;

use millpond::{Clock, Job, JobId, Keep, Millpond, Outcome, QueueSettings, Retention, State, Timestamp};
use millpond_testkit::SimDisk;

use crate::support::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A worker whose jobs end in every way that leaves a row behind.
fn ending(pond: &Millpond) {
    pond.worker("q")
        .concurrency(20)
        .handle(|job: Job<Work>| async move {
            Ok(match job.n % 3 {
                0 => Outcome::done_with("result"),
                1 => Outcome::cancel("x"),
                _ => Outcome::dead_letter("x"),
            })
        })
        .start()
        .unwrap();
}

async fn end_some(pond: &Millpond) {
    ending(pond);
    pond.enqueue_many("q", (0..30).map(work)).await.unwrap();
    drained(pond).await;
    assert_eq!(kept(pond), [10, 10, 10]);
}

fn kept(pond: &Millpond) -> [u64; 3] {
    let counts = pond.queue("q").unwrap().counts();
    [counts.completed, counts.cancelled, counts.dead]
}

/// Lets time pass in steps, so that retention runs in between.
async fn pass(clock: &millpond::testing::ManualClock, pond: &Millpond, time: Duration) {
    settled(pond).await;
    clock.advance(time);
    drained(pond).await;
    clock.advance(SECOND * 31);
    drained(pond).await;
    clock.advance(SECOND * 31);
    drained(pond).await;
}

/// Closes the file and opens it again.
async fn reopened(disk: &OnDisk, pond: Millpond) -> Millpond {
    close(pond).await;
    disk.open()
}

#[tokio::test]
async fn setting_an_unset_wall_clock_prunes_nothing() {
    let clock = millpond::testing::ManualClock::new();
    let today = clock.wall();
    clock.set_wall(Timestamp::from_millis(5_000));
    let pond = Millpond::builder().clock(clock.clone()).open_backend(SimDisk::new()).unwrap();
    end_some(&pond).await;
    clock.set_wall(today);
    pass(&clock, &pond, HOUR).await;
    assert_eq!(kept(&pond), [10, 10, 10]);
    pass(&clock, &pond, DAY).await;
    assert_eq!(kept(&pond), [0, 0, 10], "a day has passed since");
    pass(&clock, &pond, DAY * 180).await;
    assert_eq!(kept(&pond), [0, 0, 0]);
}

#[tokio::test]
async fn setting_an_unset_wall_clock_while_the_file_is_closed_prunes_nothing() {
    let disk = OnDisk::new();
    let today = disk.clock.wall();
    disk.clock.set_wall(Timestamp::EPOCH);
    let pond = disk.open();
    end_some(&pond).await;
    close(pond).await;
    disk.clock.set_wall(today);
    let mut pond = disk.open();
    pass(&disk.clock, &pond, HOUR).await;
    assert_eq!(kept(&pond), [10, 10, 10]);
    // The machine boots with a clock that is not set, and learns the time later, day after day.
    for _ in 0..3 {
        let time = disk.clock.wall();
        close(pond).await;
        disk.clock.set_wall(Timestamp::EPOCH);
        pond = disk.open();
        pond.enqueue("other", work(1)).await.unwrap();
        pond = reopened(&disk, pond).await;
        disk.clock.set_wall(time + HOUR);
        pond = reopened(&disk, pond).await;
        pass(&disk.clock, &pond, SECOND).await;
        assert_eq!(kept(&pond), [10, 10, 10]);
    }
}

#[tokio::test]
async fn a_clock_set_forward_and_back_again_prunes_nothing() {
    let (clock, pond) = memory();
    end_some(&pond).await;
    for _ in 0..3 {
        clock.set_wall(clock.wall() + TEN_YEARS);
        pass(&clock, &pond, HOUR).await;
        clock.set_wall(clock.wall() - TEN_YEARS);
        pass(&clock, &pond, HOUR).await;
        assert_eq!(kept(&pond), [10, 10, 10]);
    }
    pass(&clock, &pond, HOUR * 19).await;
    assert_eq!(kept(&pond), [0, 0, 10]);
}

#[tokio::test]
async fn a_clock_set_back_does_not_extend_retention() {
    let (clock, pond) = memory();
    end_some(&pond).await;
    clock.set_wall(clock.wall() - TEN_YEARS);
    pass(&clock, &pond, HOUR * 23).await;
    assert_eq!(kept(&pond), [10, 10, 10]);
    pass(&clock, &pond, HOUR).await;
    assert_eq!(kept(&pond), [0, 0, 10]);
    pass(&clock, &pond, DAY * 180).await;
    assert_eq!(kept(&pond), [0, 0, 0]);
}

/// The time that passed while the clock was wrong has been counted; correcting the clock does not count it again.
#[tokio::test]
async fn a_clock_corrected_while_the_file_is_closed_counts_no_time_twice() {
    let disk = OnDisk::new();
    let mut pond = disk.open();
    end_some(&pond).await;
    for wrong in [TEN_YEARS, HOUR] {
        disk.clock.set_wall(disk.clock.wall() - wrong);
        pass(&disk.clock, &pond, HOUR * 5).await;
        close(pond).await;
        disk.clock.set_wall(disk.clock.wall() + wrong);
        pond = disk.open();
        pass(&disk.clock, &pond, HOUR * 5).await;
        assert_eq!(kept(&pond), [10, 10, 10], "{wrong:?}");
    }
    pass(&disk.clock, &pond, HOUR * 4).await;
    assert_eq!(kept(&pond), [0, 0, 10]);
}

#[tokio::test]
async fn a_crash_after_the_clock_was_set_forward_prunes_nothing() {
    let disk = OnDisk::new();
    let pond = disk.open();
    end_some(&pond).await;
    disk.clock.set_wall(disk.clock.wall() + TEN_YEARS);
    // Nothing is written except that the clock was set.
    settled(&pond).await;
    let crashed = disk.crashed("copy.redb");
    pass(&disk.clock, &crashed, HOUR).await;
    assert_eq!(kept(&crashed), [10, 10, 10]);
}

#[tokio::test]
async fn time_that_passes_while_the_file_is_closed_counts_towards_ages() {
    let disk = OnDisk::new();
    let mut pond = disk.open();
    end_some(&pond).await;
    for hours in 1..=24 {
        close(pond).await;
        disk.clock.advance(HOUR);
        pond = disk.open();
        drained(&pond).await;
        assert_eq!(kept(&pond), [10, 10, 10], "after {hours} hours");
    }
    pass(&disk.clock, &pond, SECOND).await;
    assert_eq!(kept(&pond), [0, 0, 10]);
}

#[tokio::test]
async fn retention_without_an_end_keeps_jobs_at_every_time() {
    for wall in [Timestamp::EPOCH, Timestamp::from_millis(1), Timestamp::MAX] {
        let clock = millpond::testing::ManualClock::new();
        let today = clock.wall();
        clock.set_wall(wall);
        let pond = Millpond::builder().clock(clock.clone()).open_backend(SimDisk::new()).unwrap();
        let all = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER).dead(Keep::FOREVER);
        pond.queue("q").unwrap().configure(QueueSettings::default().retention(all)).await.unwrap();
        end_some(&pond).await;
        for wall in [wall, today, Timestamp::MAX, Timestamp::EPOCH] {
            clock.set_wall(wall);
            pass(&clock, &pond, DAY * 36_500).await;
            assert_eq!(kept(&pond), [10, 10, 10], "{wall:?}");
        }
    }
}

#[tokio::test]
async fn the_end_time_of_a_job_is_shown_in_wall_clock_time() {
    let (clock, pond) = memory();
    clock.set_wall(clock.wall() - TEN_YEARS);
    let wall = clock.wall();
    end_some(&pond).await;
    for id in [1, 2, 3] {
        assert_eq!(pond.job(JobId::new(id)).unwrap().ended_at, Some(wall));
    }
}

#[tokio::test]
async fn a_clock_set_forward_frees_no_unique_key() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    let keyed = |n| work(n).unique_key("key").unique_for(HOUR);
    let id = pond.enqueue("q", keyed(1)).await.unwrap();
    drained(&pond).await;
    disk.clock.set_wall(disk.clock.wall() + TEN_YEARS);
    pass(&disk.clock, &pond, SECOND).await;
    assert_eq!(pond.enqueue("q", keyed(2)).await.unwrap(), id.id);
    let pond = reopened(&disk, pond).await;
    assert_eq!(pond.enqueue("q", keyed(3)).await.unwrap(), id.id);
    disk.clock.set_wall(disk.clock.wall() - TEN_YEARS * 2);
    disk.clock.advance(HOUR);
    assert!(pond.enqueue("q", keyed(4)).await.unwrap() > id, "an hour has passed");
    assert_eq!(ran.all(), [1]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_expiry_after_a_time_is_not_moved_by_the_wall_clock() {
    let (clock, pond) = memory();
    let id = pond.enqueue("q", work(1).expires_in(HOUR)).await.unwrap();
    clock.set_wall(clock.wall() + TEN_YEARS);
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Pending, "two seconds are not an hour");
    clock.set_wall(clock.wall() - TEN_YEARS * 2);
    clock.advance(HOUR - SECOND);
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Pending);
    clock.advance(SECOND);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!((state(&pond, id), ran.len()), (State::Cancelled, 0));
}

#[tokio::test]
async fn an_expiry_at_a_time_follows_the_wall_clock() {
    let (clock, pond) = memory();
    let at = std::time::UNIX_EPOCH + Duration::from_millis(clock.wall().as_millis()) + HOUR;
    let id = pond.enqueue("q", work(1).expires_at(at)).await.unwrap();
    clock.set_wall(clock.wall() - TEN_YEARS);
    clock.advance(DAY);
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Pending);
    clock.set_wall(at.into());
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Cancelled);
}

/// The clock is set back by ten minutes. Whether the process is closed or killed in between, and however often, a
/// minute lasts a minute.
#[tokio::test]
async fn a_delay_of_a_minute_lasts_a_minute_after_the_clock_was_set_back() {
    let restarts = [(0, 0), (1, 20), (3, 15), (10, 5), (2, 29), (1, 59)];
    for (kills, times, down) in [true, false].into_iter().flat_map(|kills| restarts.map(|(n, down)| (kills, n, down))) {
        let clock = millpond::testing::ManualClock::new();
        clock.set_wall(clock.wall() + TEN_YEARS);
        let mut memory = SimDisk::new();
        let open =
            |memory: &SimDisk| Millpond::builder().clock(clock.clone()).seed(0).open_backend(memory.clone()).unwrap();
        let mut pond = open(&memory);
        let id = pond.enqueue("q", work(1).delay(SECOND * 60)).await.unwrap();
        clock.set_wall(clock.wall() - SECOND * 600);
        settled(&pond).await;
        let mut left = SECOND * 60;
        for _ in 0..times {
            if kills {
                memory = memory.after_kill();
                drop(pond);
            } else {
                close(pond).await;
            }
            clock.advance(SECOND * down);
            left -= SECOND * down;
            pond = open(&memory);
        }
        let ran = record(&pond, "q", 1);
        clock.advance(left - SECOND);
        drained(&pond).await;
        assert_eq!(ran.len(), 0, "{times} times {down} s down, kills: {kills}");
        clock.advance(SECOND);
        drained(&pond).await;
        assert_eq!(ran.all(), [1], "{times} times {down} s down, kills: {kills}");
        let _ = id;
    }
}

/// The file records that the clock was set, even if nothing else is written: the time that passed before is not lost.
#[tokio::test]
async fn a_kill_long_after_the_last_commit_loses_no_time_when_the_clock_was_set_back() {
    let clock = millpond::testing::ManualClock::new();
    clock.set_wall(clock.wall() + TEN_YEARS);
    let memory = SimDisk::new();
    let open = |memory: SimDisk| Millpond::builder().clock(clock.clone()).open_backend(memory).unwrap();
    let pond = open(memory.clone());
    pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    clock.advance(SECOND * 3_000);
    clock.set_wall(clock.wall() - SECOND * 600);
    settled(&pond).await;
    clock.advance(SECOND * 300);
    let after = open(memory.after_kill());
    let ran = record(&after, "q", 1);
    clock.advance(SECOND * 299);
    drained(&after).await;
    assert_eq!(ran.len(), 0);
    clock.advance(SECOND);
    drained(&after).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn delays_are_kept_while_the_wall_clock_is_never_set() {
    let disk = OnDisk::new();
    disk.clock.set_wall(Timestamp::from_millis(60_000));
    let mut pond = disk.open();
    pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    pond.enqueue("q", work(2).expires_in(HOUR)).await.unwrap();
    for _ in 0..3 {
        disk.clock.advance(SECOND * 1_000);
        settled(&pond).await;
        pond.enqueue("other", work(3)).await.unwrap();
        close(pond).await;
        // The machine boots.
        disk.clock.set_wall(Timestamp::from_millis(10_000));
        pond = disk.open();
    }
    disk.clock.advance(SECOND * 599);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.take(), [2], "neither is due, and neither has expired");
    disk.clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.take(), [1]);
}

/// A rate-limited answer of an hour holds the queue for an hour.
#[tokio::test]
async fn a_clock_set_forward_and_a_crash_do_not_end_a_hold() {
    let clock = millpond::testing::ManualClock::new();
    let memory = SimDisk::new();
    let open = |memory: SimDisk| Millpond::builder().clock(clock.clone()).open_backend(memory).unwrap();
    let limited = |pond: &Millpond| {
        let log = Log::new();
        let seen = log.clone();
        let handler = move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(Outcome::rate_limited(HOUR)) }
        };
        pond.worker("q").concurrency(1).handle(handler).start().unwrap();
        log
    };
    let pond = open(memory.clone());
    let ran = limited(&pond);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
    clock.set_wall(clock.wall() + TEN_YEARS);
    settled(&pond).await;
    let pond = open(memory.after_kill());
    let ran = limited(&pond);
    clock.advance(HOUR - SECOND);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_clock_set_forward_does_not_fill_a_bucket_across_a_crash() {
    let clock = millpond::testing::ManualClock::new();
    let memory = SimDisk::new();
    let open = |memory: SimDisk| Millpond::builder().clock(clock.clone()).open_backend(memory).unwrap();
    let limited = |pond: &Millpond| {
        let log = Log::new();
        let seen = log.clone();
        let handler = move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        };
        let rate = millpond::Rate::per_hour(60).burst(10);
        pond.worker("q").concurrency(100).rate_limit(rate).handle(handler).start().unwrap();
        log
    };
    let pond = open(memory.clone());
    let ran = limited(&pond);
    pond.enqueue_many("q", (0..40).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 10);
    clock.set_wall(clock.wall() + TEN_YEARS);
    pond.enqueue("other", work(1)).await.unwrap();
    let after = open(memory.after_kill());
    let ran = limited(&after);
    drained(&after).await;
    assert_eq!(ran.len(), 0);
    clock.advance(SECOND * 125);
    drained(&after).await;
    assert!((1..=2).contains(&ran.len()), "{:?}", ran.all());
}
