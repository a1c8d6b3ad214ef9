//! Ended jobs are kept as long as the queue's retention says, and no longer.

use millpond::{Job, JobFilter, Keep, Millpond, Outcome, QueueSettings, Retention, State};

use crate::support::*;

fn ending(pond: &Millpond) {
    pond.worker("q")
        .concurrency(20)
        .handle(|job: Job<Work>| async move {
            Ok(match job.n % 4 {
                0 => Outcome::Done(None),
                1 => Outcome::done_with("result"),
                2 => Outcome::cancel("x"),
                _ => Outcome::dead_letter("x"),
            })
        })
        .start()
        .unwrap();
}

async fn configure(pond: &Millpond, retention: Retention) {
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(retention)).await.unwrap();
}

/// Lets time pass for a queue that has already read the time.
async fn pass(clock: &millpond::testing::ManualClock, pond: &Millpond, time: std::time::Duration) {
    settled(pond).await;
    clock.advance(time);
    drained(pond).await;
}

fn kept(pond: &Millpond) -> (u64, u64, u64) {
    let counts = pond.queue("q").unwrap().counts();
    (counts.completed, counts.cancelled, counts.dead)
}

#[tokio::test]
async fn by_default_results_cancelled_and_dead_jobs_are_kept_and_plain_ones_are_not() {
    let (clock, pond) = memory();
    ending(&pond);
    pond.enqueue_many("q", (0..40).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(kept(&pond), (10, 10, 10));
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 20);
    pass(&clock, &pond, HOUR * 24 - SECOND).await;
    assert_eq!(kept(&pond), (10, 10, 10));
    pass(&clock, &pond, SECOND * 60).await;
    assert_eq!(kept(&pond), (0, 0, 10));
    pass(&clock, &pond, HOUR * 24 * 180).await;
    assert_eq!(kept(&pond), (0, 0, 0));
    assert_eq!(pond.metrics().pruned_total, 30);
    assert!(pond.jobs(&JobFilter::new(), None, 10).unwrap().jobs.is_empty());
}

#[tokio::test]
async fn the_latest_jobs_are_kept_up_to_the_count() {
    let (clock, pond) = memory();
    configure(&pond, Retention::default().completed(Keep::new(HOUR, 3)).cancelled(Keep::new(HOUR, 2))).await;
    ending(&pond);
    for n in 0..40 {
        pond.enqueue("q", work(n)).await.unwrap();
        drained(&pond).await;
        clock.advance(std::time::Duration::from_millis(1));
    }
    pass(&clock, &pond, SECOND * 31).await;
    assert_eq!(kept(&pond), (3, 2, 10));
    let page = pond.jobs(&JobFilter::new().state(State::Completed), None, 10).unwrap();
    let numbers: Vec<u64> = page.jobs.iter().map(|job| job.payload.decode::<Work>().unwrap().n).collect();
    assert_eq!(numbers, [33, 36, 37]);
}

#[tokio::test]
async fn completed_jobs_without_a_result_are_kept_if_retention_says_so() {
    let (_, pond) = memory();
    configure(&pond, Retention::default().completed(Keep::FOREVER)).await;
    ending(&pond);
    let ids = pond.enqueue_many("q", [work(0), work(1)]).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, ids[0]), state(&pond, ids[1])), (State::Completed, State::Completed));
    assert_eq!(pond.job(ids[1]).unwrap().result.as_deref(), Some(&b"result"[..]));
}

#[tokio::test]
async fn no_ended_job_is_kept_if_retention_says_so() {
    let (clock, pond) = memory();
    let none = Retention::default().completed(Keep::NOTHING).cancelled(Keep::NOTHING).dead(Keep::NOTHING);
    configure(&pond, none).await;
    ending(&pond);
    let id = pond.enqueue("elsewhere", work(1)).await.unwrap();
    pond.enqueue_many("q", (0..8).map(work)).await.unwrap();
    let delayed = pond.enqueue("q", work(1).delay(HOUR)).await.unwrap();
    drained(&pond).await;
    pond.cancel(delayed, "x").await.unwrap();
    assert_eq!(kept(&pond), (0, 0, 2));
    pass(&clock, &pond, SECOND * 31).await;
    assert_eq!(kept(&pond), (0, 0, 0));
    assert_eq!(state(&pond, id), State::Pending, "jobs that have not ended stay");
}

#[tokio::test]
async fn retention_without_an_end_keeps_jobs_for_ever() {
    let (clock, pond) = memory();
    let all = Retention::default().completed(Keep::FOREVER).cancelled(Keep::FOREVER).dead(Keep::FOREVER);
    configure(&pond, all).await;
    ending(&pond);
    pond.enqueue_many("q", (0..40).map(work)).await.unwrap();
    drained(&pond).await;
    pass(&clock, &pond, HOUR * 24 * 365 * 100).await;
    assert_eq!(kept(&pond), (20, 10, 10));
}

#[tokio::test]
async fn a_large_sweep_takes_small_commits_until_all_jobs_are_removed() {
    let (clock, pond) = memory();
    ending(&pond);
    pond.enqueue_many("q", (0..2_500).map(|n| work(n * 4 + 2))).await.unwrap();
    drained(&pond).await;
    assert_eq!(kept(&pond), (0, 2_500, 0));
    let before = pond.metrics().commits_total;
    clock.advance(HOUR * 48);
    let mut events = 0;
    while kept(&pond) != (0, 0, 0) {
        settled(&pond).await;
        tokio::task::yield_now().await;
        events += 1;
        assert!(events < 100_000, "it must end");
    }
    assert!(pond.metrics().commits_total - before >= 3, "not all in one commit");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn kept_jobs_survive_a_restart_and_are_swept_after_it() {
    let disk = OnDisk::new();
    let pond = disk.open();
    ending(&pond);
    pond.enqueue_many("q", (0..8).map(work)).await.unwrap();
    drained(&pond).await;
    close(pond).await;
    disk.clock.advance(HOUR * 25);
    let pond = disk.open();
    assert_eq!(kept(&pond), (2, 2, 2));
    pass(&disk.clock, &pond, SECOND * 31).await;
    assert_eq!(kept(&pond), (0, 0, 2));
}

/// A caller that no longer finds a job finds that it was counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_job_is_counted_before_it_disappears() {
    let (clock, pond) = memory();
    ending(&pond);
    for _ in 0..3 {
        pond.enqueue_many("q", (0..1_000).map(work)).await.unwrap();
    }
    drained(&pond).await;
    let all = |kept: (u64, u64, u64)| kept.0 + kept.1 + kept.2;
    let ended = all(kept(&pond));
    assert_eq!((ended, pond.metrics().pruned_total), (2_250, 0));
    clock.advance(HOUR * 24 * 181);
    let mut left = ended;
    while left > 0 {
        left = all(kept(&pond));
        let counted = pond.metrics().pruned_total;
        assert!(counted >= ended - left, "{} are gone, {counted} are counted", ended - left);
    }
}
