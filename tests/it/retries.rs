//! What follows a failed attempt.

use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use millpond::{Backoff, Context, FailureKind, Handled, Job, Millpond, NewJob, Outcome, Retry, State, WorkerBuilder};

use crate::support::*;

type Attempts = Log<(u32, u64)>;

/// A worker whose handler always fails; it records each attempt and the second that it starts in.
fn failing(pond: &Millpond, clock: &millpond::testing::ManualClock, retry: Retry) -> Attempts {
    let attempts = Attempts::new();
    let (log, clock) = (attempts.clone(), clock.clone());
    pond.worker("q")
        .retry(retry)
        .handle(move |job: Job<Work>| {
            log.push((job.attempt(), millpond::Clock::monotonic(&clock).as_secs()));
            async { Err::<(), _>("boom".into()) }
        })
        .start()
        .unwrap();
    attempts
}

async fn run_for(pond: &Millpond, clock: &millpond::testing::ManualClock, seconds: u64) {
    for _ in 0..seconds {
        drained(pond).await;
        clock.advance(SECOND);
    }
    drained(pond).await;
}

#[tokio::test]
async fn exponential_backoff_doubles_up_to_its_cap_and_then_the_job_is_dead() {
    let (clock, pond) = memory();
    let retry = Retry::exponential(SECOND).cap(SECOND * 5).jitter(0.0).max_attempts(6);
    let attempts = failing(&pond, &clock, retry);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    run_for(&pond, &clock, 30).await;
    assert_eq!(attempts.all(), [(1, 0), (2, 1), (3, 3), (4, 7), (5, 12), (6, 17)]);
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.reason.as_deref()), (State::Dead, 6, Some("no attempts left")));
    assert_eq!(info.errors.iter().map(|error| error.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(info.errors.iter().all(|error| error.message == "boom" && error.kind == FailureKind::Error));
}

#[tokio::test]
async fn fixed_listed_and_custom_backoffs_wait_for_their_delays() {
    let custom = Retry::custom(|attempt| SECOND * attempt * 2).jitter(0.0).max_attempts(4);
    for (retry, starts) in [
        (Retry::fixed(SECOND * 3).jitter(0.0).max_attempts(3), vec![0, 3, 6]),
        (Retry::list([SECOND, SECOND * 5]).jitter(0.0), vec![0, 1, 6]),
        (Retry::list([SECOND]).jitter(0.0).max_attempts(4), vec![0, 1, 2, 3]),
        (custom, vec![0, 2, 6, 12]),
        (Retry::none(), vec![0]),
        (Retry::fixed(Duration::ZERO).max_attempts(3), vec![0, 0, 0]),
    ] {
        let (clock, pond) = memory();
        let attempts = failing(&pond, &clock, retry.clone());
        pond.enqueue("q", work(1)).await.unwrap();
        run_for(&pond, &clock, 15).await;
        let expected: Vec<_> = (1..).zip(starts).collect();
        assert_eq!(attempts.all(), expected, "{retry:?}");
        assert_eq!(pond.queue("q").unwrap().counts().dead, 1);
    }
}

#[tokio::test]
async fn jitter_stays_within_its_share() {
    let (clock, pond) = memory();
    failing(&pond, &clock, Retry::fixed(SECOND * 100).jitter(0.2));
    let ids = pond.enqueue_many("q", (0..50).map(work)).await.unwrap();
    drained(&pond).await;
    let now = millpond::Clock::wall(&clock);
    let waits: Vec<_> = ids.iter().map(|id| pond.job(*id).unwrap().run_at.unwrap().since(now)).collect();
    assert!(waits.iter().all(|wait| (SECOND * 80..=SECOND * 120).contains(wait)), "{waits:?}");
    assert!(waits.iter().any(|wait| *wait != waits[0]), "they must not all be retried at once");
}

#[tokio::test]
async fn a_jobs_own_backoff_and_attempts_override_the_workers() {
    let (clock, pond) = memory();
    let attempts = failing(&pond, &clock, Retry::fixed(HOUR).jitter(0.0).max_attempts(9));
    pond.enqueue("q", work(1).max_attempts(3).backoff(Backoff::List(vec![SECOND, SECOND * 4]))).await.unwrap();
    run_for(&pond, &clock, 10).await;
    assert_eq!(attempts.all(), [(1, 0), (2, 1), (3, 5)]);
}

#[tokio::test]
async fn attempts_are_counted_across_a_restart() {
    let disk = OnDisk::new();
    let retry = Retry::fixed(SECOND).jitter(0.0).max_attempts(3);
    let pond = disk.open();
    let attempts = failing(&pond, &disk.clock, retry.clone());
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    close(pond).await;
    let pond = disk.open();
    assert_eq!((state(&pond, id), attempts.take()), (State::Retrying, vec![(1, 0)]));
    let attempts = failing(&pond, &disk.clock, retry);
    run_for(&pond, &disk.clock, 5).await;
    assert_eq!(attempts.all(), [(2, 1), (3, 2)]);
    assert_eq!(pond.job(id).unwrap().errors.len(), 3);
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_with_its_message_and_place() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move {
            match job.n {
                1 => panic!("before any await {}", job.n),
                2 => {
                    tokio::task::yield_now().await;
                    panic!("after an await")
                }
                _ => Ok(()),
            }
        })
        .handle_blocking(|_: Job<Packed>| -> Handled { panic!("in a blocking one") })
        .start()
        .unwrap();
    let mut ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    ids.push(pond.enqueue("q", Packed { text: String::new() }).await.unwrap());
    pond.enqueue("q", work(3)).await.unwrap();
    let drained = drained(&pond).await;
    assert_eq!((drained.completed, drained.dead), (1, 3));
    for (id, text) in ids.iter().zip(["before any await 1", "after an await", "in a blocking one"]) {
        let error = &pond.job(*id).unwrap().errors[0];
        assert_eq!(error.kind, FailureKind::Panic);
        assert!(error.message.starts_with(&format!("{text} (at tests/it/retries.rs:")), "{}", error.message);
    }
    assert_eq!(pond.metrics().panics_total, 3);
}

#[tokio::test]
async fn a_handler_that_panics_before_it_returns_its_future_has_failed_too() {
    let (_, pond) = memory();
    fn refuse(_: Job<Work>) -> std::future::Ready<Handled> {
        panic!("no future")
    }
    pond.worker("q").retry(Retry::none()).handle(refuse).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert!(pond.job(id).unwrap().errors[0].message.starts_with("no future (at "));
}

#[tokio::test]
async fn an_async_handler_that_runs_too_long_is_dropped_and_has_failed() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    let dropped = Log::new();
    let log = dropped.clone();
    struct Guard(Log<()>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.push(());
        }
    }
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND * 10)
        .retry(Retry::fixed(HOUR).jitter(0.0))
        .handle(move |job: Job<Work>, ctx: Context| {
            let (gate, guard) = (gate.clone(), Guard(log.clone()));
            async move {
                let _guard = guard;
                assert_eq!(ctx.time_left(), Some(SECOND * 10));
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(keeper.entered().await, 1);
    clock.advance(Duration::from_millis(9_999));
    settled(&pond).await;
    assert_eq!((state(&pond, id), dropped.len()), (State::Running, 0));
    clock.advance(Duration::from_millis(1));
    drained(&pond).await;
    assert_eq!(dropped.len(), 1);
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.errors[0].kind), (State::Retrying, 1, FailureKind::Timeout));
    assert!(info.errors[0].message.contains("10s"), "{}", info.errors[0].message);
    assert_eq!(pond.metrics().timeouts_total, 1);
}

#[tokio::test]
async fn a_jobs_own_timeout_overrides_the_workers() {
    let (clock, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let id = pond.enqueue("q", work(1).timeout(SECOND)).await.unwrap();
    keeper.entered().await;
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().errors[0].kind, FailureKind::Timeout);
}

fn blocking_until_told(builder: WorkerBuilder) -> (mpsc::Receiver<Context>, mpsc::Sender<()>) {
    let (entered, at) = mpsc::channel();
    let (go, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    builder
        .handle_blocking(move |_: Job<Work>, ctx: Context| {
            entered.send(ctx).unwrap();
            told.lock().unwrap().recv().unwrap();
            Ok(())
        })
        .start()
        .unwrap();
    (at, go)
}

#[tokio::test]
async fn a_blocking_handler_that_runs_too_long_keeps_its_slot_until_it_returns() {
    let (clock, pond) = memory();
    let builder = pond.worker("q").concurrency(1).timeout(SECOND).retry(Retry::none());
    let (at, go) = blocking_until_told(builder);
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    let ctx = at.recv().unwrap();
    assert!(!ctx.is_cancelled());
    clock.advance(SECOND * 2);
    settled(&pond).await;
    assert!(ctx.is_cancelled(), "the handler is cancelled");
    assert_eq!(ctx.time_left(), Some(Duration::ZERO));
    assert_eq!(state(&pond, ids[0]), State::Running);
    assert!(at.try_recv().is_err(), "the only slot is taken");
    assert_eq!(pond.metrics().stuck, 1);
    go.send(()).unwrap();
    at.recv().unwrap();
    go.send(()).unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, ids[0]), pond.metrics().stuck), (State::Dead, 0));
    assert!(pond.job(ids[1]).is_err(), "the second job has completed");
}

#[tokio::test]
async fn a_job_whose_payload_cannot_be_decoded_is_dead_at_once_and_keeps_its_bytes() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 1);
    let jobs = [
        NewJob::json("work", &serde_json::json!({"m": 1})),
        NewJob::raw("work", vec![0xff, 0x00]),
        NewJob::json("work", "text").group("g"),
        work(4).group("g"),
    ];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    let drained = drained(&pond).await;
    assert_eq!((drained.dead, ran.all()), (3, vec![4]));
    for id in &ids[..3] {
        let info = pond.job(*id).unwrap();
        assert_eq!((info.state, info.errors[0].kind), (State::Dead, FailureKind::Undecodable));
        assert_eq!(info.reason.as_deref(), Some("the payload could not be decoded"));
    }
    assert_eq!(pond.job(ids[1]).unwrap().payload.bytes, Bytes::from_static(&[0xff, 0x00]));
}

#[tokio::test]
async fn a_snooze_uses_no_attempt_and_lasts_as_long_as_it_says() {
    let (clock, pond) = memory();
    let attempts = Log::new();
    let log = attempts.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            log.push(job.attempt());
            let snooze = log.len() <= 3;
            async move { if snooze { Ok(Outcome::snooze(SECOND * 10)) } else { Ok(Outcome::done_with("x")) } }
        })
        .start()
        .unwrap();
    let mut events = pond.events();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, id), pond.job(id).unwrap().attempts), (State::Scheduled, 0));
    assert!(
        heard(&mut events)
            .iter()
            .any(|event| matches!(event, millpond::Event::Snoozed { delay, .. } if *delay == SECOND * 10))
    );
    run_for(&pond, &clock, 29).await;
    assert_eq!(attempts.all(), [1, 1, 1]);
    run_for(&pond, &clock, 1).await;
    let info = pond.job(id).unwrap();
    assert_eq!((attempts.len(), info.state, info.snoozes, info.attempts), (4, State::Completed, 3, 1));
    assert_eq!(pond.queue("q").unwrap().counts().failures_total, 0);
}

#[tokio::test]
async fn retry_after_overrides_the_backoff_and_uses_an_attempt() {
    let (clock, pond) = memory();
    let attempts = Log::new();
    let log = attempts.clone();
    pond.worker("q")
        .retry(Retry::fixed(HOUR).jitter(0.0).max_attempts(3))
        .handle(move |job: Job<Work>| {
            log.push(job.attempt());
            async { Ok(Outcome::retry_after("503", SECOND)) }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    run_for(&pond, &clock, 3).await;
    assert_eq!(attempts.all(), [1, 2, 3]);
    assert_eq!(state(&pond, id), State::Dead);
}

#[tokio::test]
async fn the_outcomes_cancel_and_dead_letter_end_the_job_with_their_reason() {
    let (_, pond) = memory();
    pond.worker("q")
        .handle(|job: Job<Work>| async move {
            Ok(match job.n {
                1 => Outcome::cancel("the account was closed"),
                2 => Outcome::dead_letter("no such order"),
                _ => Outcome::retry("again"),
            })
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2), work(3)]).await.unwrap();
    drained(&pond).await;
    let told = |n: usize| {
        let info = pond.job(ids[n]).unwrap();
        (info.state, info.reason.unwrap_or_default(), info.attempts)
    };
    assert_eq!(told(0), (State::Cancelled, "the account was closed".into(), 1));
    assert_eq!(told(1), (State::Dead, "no such order".into(), 1));
    assert_eq!(told(2), (State::Retrying, String::new(), 1));
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.cancelled_total, counts.dead_total, counts.retrying), (1, 1, 1));
}

#[derive(Debug, thiserror::Error)]
#[error("the mail server said no")]
struct Refused(#[source] std::io::Error);

async fn with_a_question_mark(job: Job<Work>) -> Handled {
    match job.n {
        1 => String::from_utf8(vec![0xff]).map(|_| ())?,
        2 => Err(anyhow::anyhow!("the innermost")).context("in between").context("outermost")?,
        3 => Err(Refused(std::io::Error::other("mailbox full")))?,
        4 => Err("a plain text")?,
        _ => Err("€".repeat(5_000))?,
    }
    Ok(())
}

#[tokio::test]
async fn a_handler_can_return_any_error_with_the_question_mark_and_its_sources_are_kept() {
    let (_, pond) = memory();
    pond.worker("q").retry(Retry::none()).handle(with_a_question_mark).start().unwrap();
    let ids = pond.enqueue_many("q", (1..=5).map(work)).await.unwrap();
    drained(&pond).await;
    let message = |n: usize| pond.job(ids[n]).unwrap().errors[0].message.clone();
    assert!(message(0).starts_with("invalid utf-8"), "{}", message(0));
    assert_eq!(message(1), "outermost: in between: the innermost");
    assert_eq!(message(2), "the mail server said no: mailbox full");
    assert_eq!(message(3), "a plain text");
    assert!(message(4).len() <= 4_096 && message(4).ends_with('…'));
}

#[tokio::test]
async fn a_custom_backoff_that_panics_does_not_lose_its_job() {
    let (clock, pond) = memory();
    let attempts = failing(&pond, &clock, Retry::custom(|_| panic!("no idea")).max_attempts(2));
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Retrying);
    clock.advance(HOUR * 2);
    drained(&pond).await;
    assert_eq!((state(&pond, id), attempts.len()), (State::Dead, 2));
}

struct Unspeakable;

impl std::fmt::Debug for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("it cannot be said")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test]
async fn an_error_that_panics_when_it_is_displayed_is_a_failed_attempt() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|_: Job<Work>| async { Err::<(), _>(Unspeakable.into()) })
        .handle_blocking(|_: Job<Packed>| Err::<(), _>(Unspeakable.into()))
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let other = pond.enqueue("q", Packed { text: String::new() }).await.unwrap();
    drained(&pond).await;
    assert_eq!((state(&pond, id), state(&pond, other)), (State::Dead, State::Dead));
}

#[tokio::test]
async fn a_handler_that_panics_when_it_is_dropped_frees_its_slot() {
    let (clock, pond) = memory();
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND)
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                let bomb = Bomb;
                gate.pass(job.n).await;
                std::mem::forget(bomb);
                Ok(())
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    keeper.entered().await;
    clock.advance(SECOND);
    assert_eq!(keeper.entered().await, 2);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.job(ids[0]).unwrap().errors[0].kind, FailureKind::Timeout);
}
