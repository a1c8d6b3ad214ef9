//! The helpers for the tests of applications.

use std::time::Duration;

use millpond::testing::{self, Given, ManualClock};
use millpond::{Clock, Context, Data, Handled, Job, NewJob, Outcome, Retry};

use crate::support::*;

#[tokio::test]
async fn drain_runs_all_due_jobs_and_the_jobs_that_they_enqueue() {
    let clock = ManualClock::new();
    let pond = testing::in_memory(&clock).unwrap();
    let inner = pond.clone();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).max_attempts(2))
        .handle(move |job: Job<Work>| {
            let pond = inner.clone();
            async move {
                match job.n {
                    0 => Err("zero".into()),
                    n => {
                        pond.enqueue("q", Work { n: n - 1 }).await?;
                        Ok(())
                    }
                }
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", Work { n: 5 }).await.unwrap();
    let first = testing::drain(&pond).await;
    assert_eq!((first.completed, first.failed, first.dead), (5, 1, 0));
    assert_eq!(testing::drain(&pond).await, testing::Drained::default());
    clock.advance(SECOND * 2);
    let second = testing::drain(&pond).await;
    assert_eq!((second.completed, second.failed, second.dead), (0, 1, 1));
    close(pond).await;
}

#[tokio::test]
async fn enqueued_jobs_can_be_asserted_and_refuted() {
    let (_, pond) = memory();
    pond.enqueue("q", NewJob::new(Work { n: 7 }).delay(HOUR)).await.unwrap();
    pond.enqueue("q", Packed { text: "x".into() }).await.unwrap();
    let job = testing::assert_enqueued::<Work>(&pond, "q", |work| work.n == 7);
    assert_eq!(job.kind, "work");
    testing::assert_enqueued::<Packed>(&pond, "q", |packed| packed.text == "x");
    testing::refute_enqueued::<Work>(&pond, "q", |work| work.n == 8);
    testing::refute_enqueued::<Work>(&pond, "other", |_| true);
    assert_eq!(testing::all_enqueued(&pond, "q").len(), 2);
}

#[tokio::test]
async fn a_failed_assertion_lists_the_jobs_that_exist() {
    let (_, pond) = memory();
    pond.enqueue("q", Work { n: 7 }).await.unwrap();
    let check = || {
        testing::assert_enqueued::<Work>(&pond, "q", |work| work.n == 8);
    };
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("\\\"n\\\":7"), "{text}");
    let check = || testing::refute_enqueued::<Work>(&pond, "q", |work| work.n == 7);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err());
}

async fn handler(job: Job<Work>, name: Data<String>, ctx: Context) -> Handled<Outcome> {
    ctx.progress(1, None, "here");
    ctx.on_complete(|_| panic!("it is dropped"));
    match job.attempt() {
        1 => Err(format!("{} of {}", job.attempt(), job.max_attempts()))?,
        _ => Ok(Outcome::done_with(format!("{} {}", *name, job.n))),
    }
}

#[tokio::test]
async fn a_handler_can_be_performed_without_a_queue() {
    let given = Given::default().data("ada".to_owned());
    match testing::perform(handler, Work { n: 7 }, given.clone()).await {
        Outcome::Retry { error, delay: None, .. } => assert_eq!(error.to_string(), "1 of 5"),
        other => panic!("{other:?}"),
    }
    match testing::perform(handler, Work { n: 7 }, given.attempt(2, 3)).await {
        Outcome::Done(Some(result)) => assert_eq!(result, "ada 7"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_manual_clock_stands_still_until_it_is_advanced() {
    let clock = ManualClock::new();
    let (wall, mono) = (clock.wall(), clock.monotonic());
    assert_eq!((clock.wall(), clock.monotonic()), (wall, mono));
    clock.clone().advance(SECOND);
    assert_eq!((clock.wall(), clock.monotonic()), (wall + SECOND, mono + SECOND));
    clock.set_wall(wall);
    assert_eq!((clock.wall(), clock.monotonic()), (wall, mono + SECOND));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_jitter() {
    let run = |seed: u64| async move {
        let (_, pond) = memory_with(|builder| builder.seed(seed));
        pond.worker("q")
            .concurrency(1)
            .retry(Retry::fixed(Duration::from_secs(1_000)).jitter(1.0))
            .handle(|_: Job<Work>| async { Err::<(), _>("x".into()) })
            .start()
            .unwrap();
        let ids = pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
        drained(&pond).await;
        ids.iter().map(|id| pond.job(*id).unwrap().run_at).collect::<Vec<_>>()
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8_000).await);
}

#[tokio::test]
async fn drain_counts_undecodable_and_dead_lettered_jobs_as_failed() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::dead_letter("no use")) }).start().unwrap();
    pond.enqueue("q", NewJob::json("work", &"not a number")).await.unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    let drained = testing::drain(&pond).await;
    assert_eq!((drained.completed, drained.failed, drained.dead), (0, 2, 2));
    close(pond).await;

    let pond = disk.open();
    assert_eq!(testing::drain(&pond).await.dead, 0, "those failures were in an earlier run");
}

#[tokio::test]
async fn only_commits_are_counted_in_the_commit_metric() {
    let (_, pond) = memory();
    pond.queue("q").unwrap().pause().await.unwrap();
    let before = pond.metrics().commits_total;
    for _ in 0..3 {
        assert!(!pond.queue("q").unwrap().pause().await.unwrap());
    }
    assert_eq!(pond.metrics().commits_total, before);
}
