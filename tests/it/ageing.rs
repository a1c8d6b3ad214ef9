//! Ageing: a job that waits becomes more urgent, so more urgent jobs do not keep it waiting for ever.

use std::time::Duration;

use millpond::{Aging, Error, Explanation, GroupPolicy, Job, JobId, Millpond, NewJob, Outcome, Priority, State};

use crate::support::*;

const PERIOD: Duration = Duration::from_secs(60);

/// A worker with one slot that records which jobs it runs, in their order.
fn ages(pond: &Millpond) -> Log<u64> {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    pond.worker("q").concurrency(1).no_timeout().aging(Aging::every(PERIOD)).handle(handler).start().unwrap();
    log
}

fn low(n: u64) -> NewJob {
    work(n).priority(Priority::LAST)
}

#[tokio::test]
async fn a_job_that_has_waited_for_long_starts_before_more_urgent_ones() {
    for grouped in [false, true] {
        let (clock, pond) = memory();
        let job = if grouped { member("g", 1) } else { work(1) };
        pond.enqueue("q", job.priority(Priority::LAST)).await.unwrap();
        pond.enqueue("q", low(2).group("h")).await.unwrap();
        clock.advance(PERIOD * 5);
        pond.enqueue_many("q", (10..13).map(work)).await.unwrap();
        let ran = ages(&pond);
        drained(&pond).await;
        assert_eq!(ran.all(), [1, 2, 10, 11, 12]);
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_starving_job_starts_with_ageing_and_not_without() {
    for aging in [None, Some(Aging::every(PERIOD))] {
        let (clock, pond) = memory();
        let (gate, mut keeper) = gate();
        let mut worker = pond.worker("q").concurrency(1);
        if let Some(aging) = aging {
            worker = worker.aging(aging);
        }
        let handler = move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                Ok(())
            }
        };
        worker.handle(handler).start().unwrap();
        pond.enqueue("q", work(1)).await.unwrap();
        assert_eq!(keeper.entered().await, 1);
        let starving = pond.enqueue("q", low(0)).await.unwrap();
        let mut ran = Vec::new();
        for n in 2..60 {
            pond.enqueue("q", work(n)).await.unwrap();
            clock.advance(Duration::from_secs(10));
            settled(&pond).await;
            keeper.let_go(1);
            ran.push(keeper.entered().await);
            if ran.last() == Some(&0) {
                assert_eq!(pond.job(starving).unwrap().priority, Priority::LAST, "its own priority is as it was");
            }
        }
        assert_eq!(ran.contains(&0), aging.is_some(), "{ran:?}");
        if aging.is_none() {
            settled(&pond).await;
            assert_eq!(pond.explain(starving).unwrap(), Explanation::NoFreeSlot, "no urgent job is left before it");
        }
        let first = ran.iter().position(|n| *n == 0).unwrap_or(usize::MAX);
        assert!(aging.is_none() || (23..=27).contains(&first), "it counts as priority 5 after four minutes: {first}");
        keeper.let_go(2);
        drained(&pond).await;
    }
}

#[tokio::test]
async fn the_time_before_a_restart_counts() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", low(1)).await.unwrap();
    close(pond).await;
    disk.clock.advance(PERIOD * 5);
    let pond = disk.open();
    pond.enqueue("q", work(2)).await.unwrap();
    let ran = ages(&pond);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn a_job_that_was_due_later_waits_since_then() {
    let (clock, pond) = memory();
    pond.enqueue("q", low(1).delay(PERIOD * 4)).await.unwrap();
    pond.enqueue("q", low(2)).await.unwrap();
    clock.advance(PERIOD * 5);
    pond.enqueue("q", work(3)).await.unwrap();
    pond.testing().idle().await;
    let ran = ages(&pond);
    drained(&pond).await;
    assert_eq!(ran.all(), [2, 3, 1], "one has waited for five periods, the other for one");
}

#[tokio::test]
async fn a_job_that_is_tried_again_waits_since_its_retry_is_due() {
    let (clock, pond) = memory();
    pond.enqueue("q", low(1)).await.unwrap();
    let failing = pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::snooze(PERIOD * 5)) }).start().unwrap();
    drained(&pond).await;
    failing.stop().await.unwrap();
    clock.advance(PERIOD * 6);
    pond.enqueue("q", work(2)).await.unwrap();
    pond.testing().idle().await;
    let ran = ages(&pond);
    drained(&pond).await;
    assert_eq!(ran.all(), [2, 1]);
}

#[tokio::test]
async fn what_became_of_a_job_meanwhile_holds() {
    let (clock, pond) = memory();
    let ids: Vec<JobId> = pond.enqueue_many("q", (0..6).map(low)).await.unwrap().into_iter().map(Into::into).collect();
    clock.advance(PERIOD * 5);
    pond.enqueue("q", work(10)).await.unwrap();
    pond.queue("q").unwrap().configure(pond.queue("q").unwrap().settings().groups(GroupPolicy::Skip)).await.unwrap();
    pond.cancel(ids[0], "not needed").await.unwrap();
    pond.update(ids[1], millpond::JobPatch::new().priority(Priority::FIRST)).await.unwrap();
    pond.update(ids[2], millpond::JobPatch::new().run_at(clock_time(&clock) + HOUR)).await.unwrap();
    let ran = ages(&pond);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 3, 4, 5, 10]);
    assert_eq!(state(&pond, ids[2]), State::Scheduled);
    assert_sound(&pond).await;
}

fn clock_time(clock: &millpond::testing::ManualClock) -> millpond::Timestamp {
    millpond::Clock::wall(clock)
}

#[tokio::test]
async fn explain_counts_the_jobs_that_go_first_by_their_age() {
    let (clock, pond) = memory();
    let (handler, mut keeper) = gated_handler();
    pond.worker("q").concurrency(1).no_timeout().aging(Aging::every(PERIOD)).handle(handler).start().unwrap();
    pond.enqueue("q", work(0)).await.unwrap();
    keeper.entered().await;
    let old = pond.enqueue("q", low(1)).await.unwrap();
    clock.advance(PERIOD * 6);
    let new = pond.enqueue("q", work(2)).await.unwrap();
    settled(&pond).await;
    assert_eq!(pond.explain(old).unwrap(), Explanation::NoFreeSlot, "it goes first");
    assert!(matches!(pond.explain(new).unwrap(), Explanation::Waiting { ahead: 1, .. }));
    keeper.let_go(3);
    drained(&pond).await;
}

#[tokio::test]
async fn a_period_that_is_too_short_is_refused() {
    let (_, pond) = memory();
    for period in [Duration::ZERO, Aging::PERIOD_MIN - Duration::from_nanos(1)] {
        let worker = pond.worker("q").aging(Aging::every(period)).handle(|_: Job<Work>| async { Ok(()) });
        assert!(matches!(worker.start(), Err(Error::InvalidConfig { field: "aging", .. })));
    }
}
