//! Groups: one job of a group runs at a time, in the order of enqueueing.

use std::time::Duration;

use millpond::{
    CancelOutcome, Error, GroupPolicy, Job, JobPatch, Kind, Millpond, NewJob, Outcome, Priority, QueueSettings, Rate,
    Retry, State,
};
use serde::{Deserialize, Serialize};

use crate::support::*;

/// A handler that fails as often as its job says, and then succeeds.
#[derive(Serialize, Deserialize)]
struct Shaky {
    n: u64,
    fails: u32,
}

impl Kind for Shaky {
    const KIND: &'static str = "shaky";
}

fn shaky(group: &str, n: u64, fails: u32) -> NewJob {
    NewJob::new(Shaky { n, fails }).group(group)
}

fn record_shaky(pond: &Millpond, concurrency: usize) -> Log<(u64, u32)> {
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(concurrency)
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(3))
        .handle(move |job: Job<Shaky>| {
            seen.push((job.n, job.attempt()));
            async move { if job.attempt() <= job.fails { Err("not yet".into()) } else { Ok(()) } }
        })
        .start()
        .unwrap();
    log
}

async fn skip(pond: &Millpond) {
    pond.queue("q").unwrap().configure(QueueSettings::default().groups(GroupPolicy::Skip)).await.unwrap();
}

#[tokio::test]
async fn one_of_a_group_runs_at_a_time_and_groups_run_beside_each_other() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    for n in 0..3 {
        pond.enqueue_many("q", [member("a", n), member("b", 10 + n)]).await.unwrap();
    }
    settled(&pond).await;
    assert_eq!(keeper.next(2).await, [0, 10]);
    keeper.let_go(2);
    assert_eq!(sorted(vec![keeper.entered().await, keeper.entered().await]), [1, 11]);
    settled(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    keeper.let_go(4);
    drained(&pond).await;
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_group_runs_in_the_order_of_enqueueing_whatever_the_priority() {
    let (_, pond) = memory();
    for n in 0..50 {
        let priority = Priority::new((9 - n % 10) as u8).unwrap();
        pond.enqueue("q", member("g", n).priority(priority)).await.unwrap();
    }
    let ran = record(&pond, "q", 10);
    drained(&pond).await;
    assert_eq!(ran.all(), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_retry_blocks_its_group_and_no_other() {
    let (clock, pond) = memory();
    let ran = record_shaky(&pond, 10);
    pond.enqueue_many("q", [shaky("a", 1, 1), shaky("a", 2, 0), shaky("b", 3, 0)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [(1, 1), (3, 1)]);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.all(), [(1, 2), (2, 1)]);
}

#[tokio::test]
async fn with_the_skip_policy_other_members_run_before_a_retry_which_then_is_the_head_again() {
    let (clock, pond) = memory();
    skip(&pond).await;
    let ran = record_shaky(&pond, 1);
    pond.enqueue_many("q", [shaky("a", 1, 1), shaky("a", 2, 0)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [(1, 1), (2, 1)]);
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.enqueue_many("q", [shaky("a", 3, 0), shaky("a", 4, 0)]).await.unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [(3, 1), (1, 2), (4, 1)], "3 was the head already");
}

/// Asserts that of these jobs `at_once` run at once, and `later` an hour later.
async fn run_in_two_parts<const N: usize>(jobs: [NewJob; N], at_once: &[u64], later: &[u64]) {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 10);
    pond.enqueue_many("q", jobs).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), at_once);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), later);
}

#[tokio::test]
async fn a_delayed_head_blocks_its_group() {
    run_in_two_parts([member("a", 1).delay(HOUR), member("a", 2), member("b", 3)], &[3], &[1, 2]).await;
}

#[tokio::test]
async fn a_delayed_member_in_the_middle_blocks_its_group_once_it_is_the_head() {
    run_in_two_parts([member("a", 1), member("a", 2).delay(HOUR), member("a", 3)], &[1], &[2, 3]).await;
}

#[tokio::test]
async fn with_the_skip_policy_other_members_run_before_a_delayed_one() {
    let (clock, pond) = memory();
    skip(&pond).await;
    let ran = record(&pond, "q", 10);
    pond.enqueue_many("q", [member("a", 1).delay(HOUR), member("a", 2), member("a", 3)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [2, 3]);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_dead_head_frees_its_group() {
    let (clock, pond) = memory();
    let ran = record_shaky(&pond, 1);
    pond.enqueue_many("q", [shaky("a", 1, 9), shaky("a", 2, 0)]).await.unwrap();
    for _ in 0..3 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    drained(&pond).await;
    assert_eq!(ran.all(), [(1, 1), (1, 2), (1, 3), (2, 1)]);
    assert_eq!(pond.queue("q").unwrap().counts().dead, 1);
}

#[tokio::test]
async fn a_cancelled_head_frees_its_group() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", [member("a", 1).delay(HOUR), member("a", 2), member("a", 3)]).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    pond.cancel(ids[0], "no more").await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [2, 3]);
}

#[tokio::test]
async fn a_member_cancelled_in_the_middle_is_skipped() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..5).map(|n| member("a", n))).await.unwrap();
    pond.cancel(ids[2], "no more").await.unwrap();
    assert_sound(&pond).await;
    let ran = record(&pond, "q", 3);
    drained(&pond).await;
    assert_eq!(ran.all(), [0, 1, 3, 4]);
}

#[tokio::test]
async fn a_redriven_job_enters_its_group_at_the_tail() {
    let (_, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    let worker = pond
        .worker("q")
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            let first = job.n == 1 && seen.all().iter().filter(|n| **n == 1).count() == 1;
            async move { if first { Ok(Outcome::dead_letter("bad")) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", member("a", 1)).await.unwrap();
    drained(&pond).await;
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.enqueue_many("q", [member("a", 2), member("a", 3)]).await.unwrap();
    assert!(pond.dead_letters().redrive(id).await.unwrap());
    pond.enqueue("q", member("a", 4)).await.unwrap();
    pond.queue("q").unwrap().resume().await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 3, 1, 4]);
    let _ = worker;
}

#[tokio::test]
async fn groups_alternate_when_there_is_one_slot() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..4).map(|n| member("a", n))).await.unwrap();
    pond.enqueue_many("q", (10..12).map(|n| member("b", n))).await.unwrap();
    pond.enqueue_many("q", (20..22).map(|n| member("c", n))).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [0, 10, 20, 1, 11, 21, 2, 3]);
}

#[tokio::test]
async fn jobs_with_and_without_a_group_alternate() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..3).map(|n| member("a", n))).await.unwrap();
    pond.enqueue_many("q", (10..13).map(work)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let mut ran = Vec::new();
    for _ in 0..6 {
        ran.push(keeper.entered().await);
        settled(&pond).await;
        keeper.let_go(1);
    }
    drained(&pond).await;
    assert!(ran.windows(2).all(|pair| (pair[0] < 10) != (pair[1] < 10)), "{ran:?}");
}

#[tokio::test]
async fn more_groups_than_fit_into_memory_all_run_in_their_own_order() {
    let (_, pond) = memory();
    let group = |g: u64| format!("g{}", g % 4_500);
    pond.enqueue_many("q", (0..5_000).map(|n| member(&group(n), n))).await.unwrap();
    let ran = record(&pond, "q", 50);
    drained(&pond).await;
    let all = ran.all();
    let place = |n: u64| all.iter().position(|ran| *ran == n).unwrap();
    assert!((4_500..5_000).all(|n| place(n - 4_500) < place(n)));
    assert_eq!(sorted(all), (0..5_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_group_with_thousands_of_waiting_jobs_does_not_delay_others() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    pond.enqueue_many("q", (0..5_000).map(|n| member("big", n))).await.unwrap();
    pond.enqueue("q", member("small", 9_999)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(2).await, [0, 9_999]);
    keeper.let_go(4);
    assert_eq!([keeper.entered().await, keeper.entered().await, keeper.entered().await], [1, 2, 3]);
    pond.shutdown(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn order_survives_a_restart() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ran = record_shaky(&pond, 10);
    pond.enqueue_many("q", [shaky("a", 1, 1), shaky("a", 2, 0), shaky("a", 3, 0), shaky("b", 4, 0)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [(1, 1), (4, 1)]);
    close(pond).await;

    let pond = disk.open();
    let ran = record_shaky(&pond, 10);
    drained(&pond).await;
    assert_eq!(ran.len(), 0, "the head still waits");
    disk.clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(ran.all(), [(1, 2), (2, 1), (3, 1)]);
}

#[tokio::test]
async fn a_paused_group_waits_and_the_others_continue() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let queue = pond.queue("q").unwrap();
    assert!(queue.pause_group("a").await.unwrap());
    assert!(!queue.pause_group("a").await.unwrap(), "it was paused already");
    pond.enqueue_many("q", [member("a", 1), member("b", 2), member("a", 3)]).await.unwrap();
    let ran = record(&pond, "q", 10);
    drained(&pond).await;
    assert_eq!(ran.take(), [2]);
    close(pond).await;

    let pond = disk.open();
    let ran = record(&pond, "q", 10);
    drained(&pond).await;
    assert_eq!(ran.len(), 0, "a pause is durable");
    let queue = pond.queue("q").unwrap();
    assert!(queue.resume_group("a").await.unwrap());
    assert!(!queue.resume_group("a").await.unwrap());
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 3]);
}

#[tokio::test]
async fn pausing_a_group_whose_head_runs_lets_it_finish_and_holds_the_next() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    settled(&pond).await;
    let queue = pond.queue("q").unwrap();
    queue.pause_group("a").await.unwrap();
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!((keeper.waiting(), queue.counts().pending), (vec![1], 1));
    queue.resume_group("a").await.unwrap();
    assert_eq!(keeper.entered().await, 2);
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_head_that_fails_while_its_group_is_paused_is_held_and_retried_after_the_resume() {
    let (clock, pond) = memory();
    let inner = pond.clone();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(move |job: Job<Work>| {
            seen.push((job.n, job.attempt()));
            let pond = inner.clone();
            async move {
                if job.n == 1 && job.attempt() == 1 {
                    pond.queue("q")?.pause_group("a").await?;
                    return Err("not yet".into());
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    drained(&pond).await;
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(log.take(), [(1, 1)]);
    pond.queue("q").unwrap().resume_group("a").await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [(1, 2), (2, 1)]);
    close(pond).await;
}

#[tokio::test]
async fn a_group_paused_and_resumed_while_its_head_runs_continues() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    settled(&pond).await;
    let queue = pond.queue("q").unwrap();
    queue.pause_group("a").await.unwrap();
    queue.resume_group("a").await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(1).await, [1]);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [2]);
}

#[tokio::test]
async fn pausing_a_group_whose_head_is_due_later_and_resuming_it_keeps_the_time() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue_many("q", [member("a", 1).delay(HOUR), member("a", 2)]).await.unwrap();
    let queue = pond.queue("q").unwrap();
    queue.pause_group("a").await.unwrap();
    queue.resume_group("a").await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    queue.pause_group("a").await.unwrap();
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    queue.resume_group("a").await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn a_rate_limited_group_does_not_delay_other_groups() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .group_rate_limit(Rate::per_minute(1))
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..3).map(|n| member("a", n))).await.unwrap();
    pond.enqueue_many("q", [member("b", 10), member("c", 20)]).await.unwrap();
    pond.enqueue_many("q", [work(100), work(101)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(sorted(log.take()), [0, 10, 20, 100, 101]);
    clock.advance(SECOND * 61);
    drained(&pond).await;
    assert_eq!(log.take(), [1]);
    clock.advance(SECOND * 61);
    drained(&pond).await;
    assert_eq!(log.take(), [2]);
}

#[tokio::test]
async fn a_member_changed_in_the_middle_keeps_its_place() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..4).map(|n| member("a", n))).await.unwrap();
    pond.update(ids[1], JobPatch::new().payload(Work { n: 11 }).priority(Priority::FIRST)).await.unwrap();
    assert_sound(&pond).await;
    let ran = record(&pond, "q", 3);
    drained(&pond).await;
    assert_eq!(ran.all(), [0, 11, 2, 3]);
}

#[tokio::test]
async fn a_head_that_is_changed_stays_the_head() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", (0..3).map(|n| member("a", n))).await.unwrap();
    pond.update(ids[0], JobPatch::new().payload(Work { n: 10 })).await.unwrap();
    assert_sound(&pond).await;
    let ran = record(&pond, "q", 3);
    drained(&pond).await;
    assert_eq!(ran.all(), [10, 1, 2]);
}

#[tokio::test]
async fn a_delayed_head_that_is_made_due_now_goes_before_the_rest() {
    let (_, pond) = memory();
    let ids = pond.enqueue_many("q", [member("a", 1).delay(HOUR), member("a", 2)]).await.unwrap();
    pond.run_now(ids[0]).await.unwrap();
    let ran = record(&pond, "q", 3);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn a_head_that_is_put_off_blocks_its_group_until_it_is_due() {
    let (clock, pond) = memory();
    let ids = pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    let later = std::time::UNIX_EPOCH + Duration::from_millis(millpond::Clock::wall(&clock).as_millis()) + HOUR;
    pond.update(ids[0], JobPatch::new().run_at(later)).await.unwrap();
    let ran = record(&pond, "q", 3);
    drained(&pond).await;
    assert_eq!(ran.len(), 0);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn a_snoozed_head_blocks_its_group() {
    let (clock, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            seen.push(job.n);
            let again = seen.len() == 1;
            async move { if again { Ok(Outcome::snooze(SECOND)) } else { Ok(Outcome::Done(None)) } }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [member("a", 1), member("a", 2)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.take(), [1]);
    assert_eq!((state(&pond, ids[0]), state(&pond, ids[1])), (State::Scheduled, State::Pending));
    log.push(0);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(log.all(), [0, 1, 2]);
}

#[tokio::test]
async fn a_running_member_cannot_be_changed_and_its_successors_can() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 10);
    let ids = pond.enqueue_many("q", (1..=3).map(|n| member("a", n))).await.unwrap();
    settled(&pond).await;
    let refused = pond.update(ids[0], JobPatch::new()).await;
    assert!(matches!(refused, Err(Error::NotAllowed { state: State::Running, .. })));
    assert_eq!(pond.cancel(ids[1], "x").await.unwrap(), CancelOutcome::Cancelled);
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [1, 3]);
}
