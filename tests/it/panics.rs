//! Panics of the application's code, including the drop of values that it leaves behind: the attempt or the call
//! fails, its slot is free, and everything else continues.

use std::fmt;
use std::panic::panic_any;
use std::sync::Arc;
use std::time::Duration;

use millpond::{
    BoxError, Context, Error, Failure, FailureKind, FromContext, Handled, Job, Millpond, Outcome, Retry, State,
};

use crate::support::*;

/// Panics with another `PanicsOnDrop` when it is dropped. It stands for the value of a panic, a value that a closure
/// captures, and a local variable of a handler.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        // It does not panic while unwinding: that would abort the process, as in any Rust program.
        if !std::thread::panicking() {
            panic_any(PanicsOnDrop);
        }
    }
}

fn explode() {
    panic_any(PanicsOnDrop);
}

/// An error that panics in each of its methods, and when it is dropped.
struct BadError {
    _panics: PanicsOnDrop,
}

impl BadError {
    fn new() -> Self {
        Self { _panics: PanicsOnDrop }
    }
}

impl fmt::Debug for BadError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_any(PanicsOnDrop)
    }
}

impl fmt::Display for BadError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic_any(PanicsOnDrop)
    }
}

impl std::error::Error for BadError {}

/// An extractor that panics when a handler asks for it.
struct Refuses;

impl FromContext for Refuses {
    fn from_context(_: &Context) -> Result<Self, Failure> {
        panic_any(PanicsOnDrop)
    }
}

/// The queue still stores and commits.
async fn assert_well(pond: &Millpond) {
    assert_eq!(pond.degraded(), None);
    pond.transaction(|tx| Ok(tx.enqueue("other", work(0)).map(drop)?)).await.unwrap();
    assert_sound(pond).await;
}

#[tokio::test]
async fn any_panic_of_a_handler_fails_its_attempt_and_frees_its_slot() {
    let (_, pond) = memory();
    let ran = Log::new();
    let (log, blocking_log) = (ran.clone(), ran.clone());
    pond.worker("q")
        .concurrency(1)
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            log.push(job.n);
            if job.n == 1 {
                explode();
            }
            async move {
                if job.n == 2 {
                    tokio::task::yield_now().await;
                    explode();
                }
                match job.n {
                    3 => Err(millpond::Failure::from(BadError::new())),
                    4 => Ok(Outcome::retry_after(BadError::new(), HOUR)),
                    5 => {
                        let local = PanicsOnDrop;
                        drop(local);
                        Ok(Outcome::Done(None))
                    }
                    _ => Ok(Outcome::Done(None)),
                }
            }
        })
        .handle_blocking(move |job: Job<Packed>| {
            blocking_log.push(100);
            match job.text.as_str() {
                "throws" => panic_any(PanicsOnDrop),
                _ => Err::<(), _>(BadError::new().into()),
            }
        })
        .start()
        .unwrap();
    let mut ids = pond.enqueue_many("q", (1..=5).map(work)).await.unwrap();
    for text in ["throws", "fails"] {
        ids.push(pond.enqueue("q", Packed { text: text.into() }).await.unwrap());
    }
    pond.enqueue("q", work(6)).await.unwrap();
    let drained = drained(&pond).await;
    assert_eq!(ran.all(), [1, 2, 3, 4, 5, 100, 100, 6]);
    assert_eq!((drained.completed, drained.failed, drained.dead), (1, 7, 7));
    for id in &ids {
        assert_eq!(pond.job(*id).unwrap().errors.len(), 1, "job {id}");
    }
    assert_well(&pond).await;
}

#[tokio::test]
async fn an_error_whose_text_panics_is_a_failure_that_keeps_its_delay() {
    let (clock, pond) = memory();
    pond.worker("q").handle(|_: Job<Work>| async { Ok(Outcome::retry_after(BadError::new(), HOUR)) }).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.errors[0].kind), (State::Retrying, FailureKind::Error));
    assert_eq!(info.run_at, Some(millpond::Clock::wall(&clock) + HOUR));
}

#[tokio::test]
async fn a_handler_that_panics_when_its_timeout_drops_it_frees_its_slot() {
    let (clock, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND)
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                let _held = PanicsOnDrop;
                gate.pass(job.n).await;
                Ok(())
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    for n in 1..=2 {
        assert_eq!(keeper.entered().await, n);
        clock.advance(SECOND);
    }
    assert_eq!(drained(&pond).await.dead, 2);
    assert_eq!(pond.job(ids[1]).unwrap().errors[0].kind, FailureKind::Timeout);
    assert_well(&pond).await;
}

#[tokio::test]
async fn a_panic_of_what_a_handler_asked_for_is_a_failed_attempt() {
    let (_, pond) = memory();
    pond.worker("q")
        .concurrency(1)
        .retry(Retry::none())
        .handle(|_: Job<Work>, _: Refuses| async { Ok(()) })
        .start()
        .unwrap();
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    assert_eq!(drained(&pond).await.dead, 2);
    assert_well(&pond).await;
}

#[tokio::test]
async fn any_panic_of_a_closure_aborts_its_transaction_and_the_queue_continues() {
    let (_, pond) = memory();
    let aborted = pond
        .transaction(|tx| {
            tx.enqueue("q", work(1))?;
            explode();
            Ok(())
        })
        .await;
    assert!(matches!(aborted, Err(Error::Aborted { .. })));
    let waited = tokio::task::spawn_blocking({
        let pond = pond.clone();
        move || {
            pond.transaction(|_| {
                explode();
                Ok(())
            })
            .wait()
        }
    });
    assert!(matches!(waited.await.unwrap(), Err(Error::Aborted { .. })));
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
    assert_well(&pond).await;
}

#[tokio::test]
async fn captures_of_a_closure_can_panic_when_they_are_dropped() {
    let (_, pond) = memory();
    let captured = PanicsOnDrop;
    let done = pond
        .transaction(move |tx| {
            let _ = &captured;
            Ok(tx.enqueue("q", work(1)).map(drop)?)
        })
        .await;
    done.unwrap();
    let captured = PanicsOnDrop;
    let failed = pond
        .transaction(move |_| {
            let _ = &captured;
            Err::<(), _>("no".into())
        })
        .await;
    assert!(matches!(failed, Err(Error::Aborted { .. })));
    assert_well(&pond).await;
}

#[tokio::test]
async fn an_unused_result_of_a_closure_can_panic_when_it_is_dropped() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    disk.hold_syncs();
    let first = tokio::spawn(pond.enqueue("q", work(1)));
    tokio::task::spawn_blocking({
        let disk = disk.clone();
        move || disk.wait_for_sync()
    })
    .await
    .unwrap();
    // These two share the next commit. The first closure runs twice, because the second one spoils the batch; its
    // caller is gone by then.
    let gone = tokio::spawn(pond.transaction(|_| Ok(PanicsOnDrop)));
    let failing = tokio::spawn(pond.transaction(|tx| {
        tx.enqueue("q", work(2))?;
        Err::<(), _>(BoxError::from(BadError::new()))
    }));
    tokio::task::yield_now().await;
    gone.abort();
    assert!(gone.await.is_err());
    disk.release_syncs();
    first.await.unwrap().unwrap();
    // What the failed call returns belongs to its caller, which must not drop it here.
    std::mem::forget(failing.await.unwrap());
    assert_well(&pond).await;
}

#[tokio::test]
async fn any_panic_of_the_writes_with_a_completion_fails_the_attempt() {
    let (_, pond) = memory();
    pond.worker("q")
        .concurrency(1)
        .retry(Retry::none())
        .handle(|job: Job<Work>, ctx: Context| async move {
            let (captured, n) = (PanicsOnDrop, job.n);
            ctx.on_complete(move |tx| {
                let _ = &captured;
                tx.enqueue("next", work(1))?;
                match n {
                    1 => panic_any(PanicsOnDrop),
                    2 => Err(BadError::new().into()),
                    _ => Ok(()),
                }
            });
            // Hooks of an attempt that does not complete are dropped without being called.
            if n == 3 { Err("no".into()) } else { Ok(()) }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (1..=4).map(work)).await.unwrap();
    let drained = drained(&pond).await;
    assert_eq!((drained.completed, drained.dead), (1, 3));
    for id in &ids[..2] {
        let error = &pond.job(*id).unwrap().errors[0];
        assert!(error.message.starts_with("the writes with its completion failed: "), "{}", error.message);
    }
    assert_eq!(pond.queue("next").unwrap().counts().enqueued_total, 1);
    assert_well(&pond).await;
}

#[tokio::test]
async fn the_dead_letter_hook_and_a_custom_backoff_can_panic_with_any_value() {
    let (_, pond) = memory_with(|builder| builder.on_first_dead_letter(|_| explode()));
    let captured = PanicsOnDrop;
    let retry = Retry::custom(move |_| {
        let _ = &captured;
        panic_any(PanicsOnDrop)
    });
    pond.worker("q")
        .concurrency(1)
        .retry(retry.jitter(0.0))
        .handle(|job: Job<Work>| async move {
            match job.n {
                1 => Err("no".into()),
                _ => Ok(Outcome::dead_letter("no")),
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;
    assert_eq!([state(&pond, ids[0]), state(&pond, ids[1])], [State::Retrying, State::Dead]);
    let info = pond.job(ids[0]).unwrap();
    let wait = info.run_at.unwrap().since(info.enqueued_at);
    assert_eq!(wait, Duration::from_secs(2), "the default back-off");
    assert_well(&pond).await;
    close(pond).await;
}

#[tokio::test]
async fn handlers_and_their_data_can_panic_when_the_queue_drops_them() {
    let (_, pond) = memory();
    let (captured, shared) = (PanicsOnDrop, Arc::new(PanicsOnDrop));
    let handler = move |_: Job<Work>| -> std::future::Ready<Handled> {
        let _ = &captured;
        std::future::ready(Ok(()))
    };
    let in_a_blocking_one = PanicsOnDrop;
    let worker = pond
        .worker("q")
        .data(shared)
        .handle(handler)
        .handle_blocking(move |_: Job<Packed>| {
            let _ = &in_a_blocking_one;
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    worker.stop();
    let last = PanicsOnDrop;
    pond.worker("q")
        .handle(move |_: Job<Work>| {
            let _ = &last;
            async { Ok(()) }
        })
        .start()
        .unwrap();
    close(pond.clone()).await;
    assert!(matches!(pond.enqueue("q", work(2)).await, Err(Error::Closed)));
}
