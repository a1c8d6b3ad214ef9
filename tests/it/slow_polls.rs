//! An async handler that blocks its thread is logged, once a minute for each kind.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Job, Millpond, WorkerBuilder};
use tracing::Level;

use crate::support::*;
use crate::tracing::recorder;

const SLOW: Duration = Duration::from_millis(101);

fn warnings(queue: &str) -> usize {
    let lines = recorder().lines_with("queue", queue);
    let texts = lines.iter().filter(|line| line.level == Level::WARN).map(|line| &*line.fields["message"]);
    texts.inspect(|text| assert!(text.contains("use `handle_blocking`"), "{text}")).count()
}

/// Runs one job with this handler.
async fn run(pond: &Millpond, queue: &str, start: impl FnOnce(WorkerBuilder) -> WorkerBuilder) {
    recorder();
    start(pond.worker(queue)).start().unwrap();
    pond.enqueue(queue, work(1)).await.unwrap();
    drained(pond).await;
}

#[tokio::test]
async fn a_handler_whose_only_poll_is_slow_is_logged() {
    let (clock, pond) = memory();
    run(&pond, "slow-only", |worker| {
        worker.handle(move |_: Job<Work>| {
            let clock = clock.clone();
            async move {
                clock.advance(SLOW);
                Ok(())
            }
        })
    })
    .await;
    assert_eq!(warnings("slow-only"), 1);
}

/// Advances the clock by these steps, with an await after each.
fn stepping(clock: &ManualClock, steps: &'static [u64]) -> impl Fn(WorkerBuilder) -> WorkerBuilder + use<> {
    let clock = clock.clone();
    move |worker| {
        let clock = clock.clone();
        worker.handle(move |_: Job<Work>| {
            let clock = clock.clone();
            async move {
                for millis in steps {
                    clock.advance(Duration::from_millis(*millis));
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        })
    }
}

#[tokio::test]
async fn a_slow_poll_before_or_after_an_await_is_logged_and_many_short_ones_are_not() {
    for (queue, steps, expected) in
        [("slow-first", &[101, 1][..], 1), ("slow-second", &[1, 101], 1), ("slow-none", &[90, 90, 90], 0)]
    {
        let (clock, pond) = memory();
        run(&pond, queue, stepping(&clock, steps)).await;
        assert_eq!(warnings(queue), expected, "{queue}");
    }
}

#[tokio::test]
async fn a_slow_kind_is_logged_once_a_minute() {
    let (clock, pond) = memory();
    run(&pond, "slow-often", stepping(&clock, &[101])).await;
    pond.enqueue_many("slow-often", (0..5).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(warnings("slow-often"), 1);
    clock.advance(Duration::from_secs(60));
    pond.enqueue("slow-often", work(9)).await.unwrap();
    drained(&pond).await;
    assert_eq!(warnings("slow-often"), 2);
}

#[tokio::test]
async fn a_slow_blocking_handler_is_not_logged() {
    let (clock, pond) = memory();
    run(&pond, "slow-blocking", |worker| {
        worker.handle_blocking(move |_: Job<Work>| {
            clock.advance(SLOW);
            Ok(())
        })
    })
    .await;
    assert_eq!(warnings("slow-blocking"), 0);
}
