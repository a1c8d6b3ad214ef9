//! A handler that asks again and again to be run at once does not keep the disk and the processor busy.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Backoff, Handled, Job, Millpond, Outcome, Retry, State};

use crate::support::*;

/// A worker whose handlers all give the same answer; it counts its calls.
fn answering(pond: &Millpond, retry: Retry, answer: impl Fn() -> Handled<Outcome> + Send + Sync + 'static) -> Log<()> {
    let calls = Log::new();
    let log = calls.clone();
    let handler = move |_: Job<Work>| {
        log.push(());
        std::future::ready(answer())
    };
    pond.worker("q").concurrency(1).retry(retry.jitter(0.0)).handle(handler).start().unwrap();
    calls
}

/// How often the handler was called: at first, just before the shortest delay has passed, when it has passed, and
/// after three more delays.
async fn calls_over_time(pond: &Millpond, clock: &ManualClock, calls: &Log<()>, shortest: Duration) -> [usize; 4] {
    let instant = Duration::from_millis(1);
    let mut seen = [0; 4];
    drained(pond).await;
    seen[0] = calls.len();
    clock.advance(shortest - instant);
    drained(pond).await;
    seen[1] = calls.len();
    clock.advance(instant);
    drained(pond).await;
    seen[2] = calls.len();
    for _ in 0..3 {
        clock.advance(shortest);
        drained(pond).await;
    }
    seen[3] = calls.len();
    seen
}

#[tokio::test]
async fn a_snooze_of_zero_lasts_as_long_as_the_shortest_snooze() {
    for delay in [Duration::ZERO, Duration::from_nanos(1), Outcome::SNOOZE_MIN] {
        let (clock, pond) = memory();
        let calls = answering(&pond, Retry::none(), move || Ok(Outcome::snooze(delay)));
        let id = pond.enqueue("q", work(1)).await.unwrap();
        let seen = calls_over_time(&pond, &clock, &calls, Outcome::SNOOZE_MIN).await;
        assert_eq!(seen, [1, 1, 2, 5], "{delay:?}");
        assert_eq!((state(&pond, id), pond.job(id).unwrap().snoozes), (State::Scheduled, 5));
    }
}

#[tokio::test]
async fn a_queue_is_held_back_for_as_long_as_the_shortest_hold() {
    for delay in [Duration::ZERO, Duration::from_nanos(1), Outcome::SNOOZE_MIN] {
        for job in [work(1), member("g", 1)] {
            let (clock, pond) = memory();
            let calls = answering(&pond, Retry::none(), move || Ok(Outcome::rate_limited(delay)));
            pond.enqueue("q", job).await.unwrap();
            let seen = calls_over_time(&pond, &clock, &calls, Outcome::SNOOZE_MIN).await;
            assert_eq!(seen, [1, 1, 2, 5], "{delay:?}");
        }
    }
}

#[tokio::test]
async fn only_the_first_ten_retries_can_follow_at_once() {
    let instant = Duration::from_nanos(1);
    let often = |retry: Retry| retry.max_attempts(1_000_000);
    let retries = [
        often(Retry::fixed(Duration::ZERO)),
        often(Retry::exponential(Duration::ZERO)),
        often(Retry::list([Duration::ZERO])),
        often(Retry::custom(|_| Duration::ZERO)),
        often(Retry::exponential(instant).cap(instant)),
    ];
    let first = Retry::AT_ONCE_MAX as usize + 1;
    for retry in retries {
        let (clock, pond) = memory();
        let calls = answering(&pond, retry.clone(), || Err("boom".into()));
        let id = pond.enqueue("q", work(1)).await.unwrap();
        // Due times are whole milliseconds: a nanosecond more is the next millisecond.
        drained(&pond).await;
        while calls.len() < first {
            clock.advance(Duration::from_millis(1));
            drained(&pond).await;
        }
        let seen = calls_over_time(&pond, &clock, &calls, Retry::WAIT_MIN).await;
        assert_eq!(seen, [first, first, first + 1, first + 4], "{retry:?}");
        assert_eq!(pond.job(id).unwrap().attempts as usize, first + 4);
    }
}

#[tokio::test]
async fn a_handler_or_a_job_cannot_shorten_the_delay_after_ten_retries() {
    let first = Retry::AT_ONCE_MAX as usize + 1;
    let often = || Retry::fixed(HOUR).max_attempts(1_000_000);
    let (clock, pond) = memory();
    let calls = answering(&pond, often(), || Ok(Outcome::retry_after("boom", Duration::ZERO)));
    pond.enqueue("q", work(1)).await.unwrap();
    let seen = calls_over_time(&pond, &clock, &calls, Retry::WAIT_MIN).await;
    assert_eq!(seen, [first, first, first + 1, first + 4]);

    let (clock, pond) = memory();
    let calls = answering(&pond, often(), || Err("boom".into()));
    pond.enqueue("q", work(1).backoff(Backoff::Fixed(Duration::ZERO))).await.unwrap();
    let seen = calls_over_time(&pond, &clock, &calls, Retry::WAIT_MIN).await;
    assert_eq!(seen, [first, first, first + 1, first + 4]);
}

#[tokio::test]
async fn a_completion_whose_writes_always_fail_is_retried_with_the_same_delays() {
    let (clock, pond) = memory();
    let calls = Log::new();
    let log = calls.clone();
    pond.worker("q")
        .retry(Retry::fixed(Duration::ZERO).max_attempts(1_000_000))
        .handle(move |_: Job<Work>, ctx: millpond::Context| {
            log.push(());
            ctx.on_complete(|_| Err("boom".into()));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    let first = Retry::AT_ONCE_MAX as usize + 1;
    let seen = calls_over_time(&pond, &clock, &calls, Retry::WAIT_MIN).await;
    assert_eq!(seen, [first, first, first + 1, first + 4]);
}
