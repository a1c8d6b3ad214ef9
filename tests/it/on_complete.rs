//! What a handler writes with its completion is stored exactly once, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{Context, Error, Job, Millpond, Outcome, Retry, State};
use redb::{ReadableTable, TableDefinition};

use crate::support::*;

const SENT: TableDefinition<u64, u64> = TableDefinition::new("sent");

fn sent(pond: &Millpond) -> Vec<(u64, u64)> {
    match pond.begin_read().unwrap().open_table(SENT) {
        Ok(table) => table.iter().unwrap().map(Result::unwrap).map(|(k, v)| (k.value(), v.value())).collect(),
        Err(_) => Vec::new(),
    }
}

fn count(tx: &millpond::Transaction<'_>, n: u64) -> Result<(), millpond::BoxError> {
    let mut table = tx.open_table(SENT)?;
    let before = table.get(n)?.map_or(0, |row| row.value());
    table.insert(n, before + 1)?;
    Ok(())
}

#[tokio::test]
async fn rows_and_follow_ups_are_committed_with_the_completion() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.worker("q")
        .handle(|job: Job<Work>, ctx: Context| async move {
            let n = job.n;
            ctx.on_complete(move |tx| {
                count(tx, n)?;
                tx.enqueue("next", work(n + 100))?;
                Ok(())
            });
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..20).map(work)).await.unwrap();
    drained(&pond).await;
    let after = disk.crashed("copy.redb");
    assert_eq!(sent(&after), (0..20).map(|n| (n, 1)).collect::<Vec<_>>());
    let next = record(&after, "next", 1);
    drained(&after).await;
    let mut all = next.all();
    all.sort_unstable();
    assert_eq!(all, (100..120).collect::<Vec<_>>());
}

#[tokio::test]
async fn several_hooks_run_in_their_order_and_are_written_together_or_not_at_all() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|job: Job<Work>, ctx: Context| async move {
            ctx.on_complete(|tx| Ok(tx.open_table(SENT)?.insert(1, 10).map(|_| ())?));
            ctx.on_complete(|tx| {
                let was = tx.open_table(SENT)?.insert(1, 20)?.map(|row| row.value());
                assert_eq!(was, Some(10));
                Ok(())
            });
            if job.n == 2 {
                ctx.on_complete(|tx| {
                    tx.open_table(SENT)?.insert(2, 2)?;
                    Err("the third says no".into())
                });
            }
            Ok(())
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!((sent(&pond), state(&pond, id)), (vec![], State::Dead));
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(sent(&pond), [(1, 20)]);
}

#[tokio::test]
async fn an_error_in_a_hook_fails_the_attempt_and_nothing_is_written() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2))
        .handle(|job: Job<Work>, ctx: Context| async move {
            let (n, attempt) = (job.n, job.attempt());
            ctx.on_complete(move |tx| {
                count(tx, n)?;
                tx.enqueue("next", work(n))?;
                if attempt == 1 { Err(Error::Closed.into()) } else { Ok(()) }
            });
            Ok(())
        })
        .start()
        .unwrap();
    let mut events = pond.events();
    let id = pond.enqueue("q", work(7)).await.unwrap();
    drained(&pond).await;
    assert_eq!((sent(&pond), pond.queue("next").unwrap().counts().enqueued_total), (vec![], 0));
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts), (State::Retrying, 1));
    assert!(info.errors[0].message.contains("the queue is closed"), "{}", info.errors[0].message);
    assert!(heard(&mut events).iter().all(|event| !matches!(event, millpond::Event::Completed { .. })));
    assert_eq!(pond.queue("q").unwrap().counts().failures_total, 1);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!((sent(&pond), pond.queue("next").unwrap().counts().pending), (vec![(7, 1)], 1));
}

#[tokio::test]
async fn a_failed_completion_is_counted_as_a_failed_attempt() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::none())
        .handle(|_: Job<Work>, ctx: Context| async move {
            ctx.on_complete(|_| Err("no".into()));
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(7)).await.unwrap();
    let drained = drained(&pond).await;
    assert_eq!((drained.completed, drained.failed, drained.dead), (0, 1, 1));
}

#[tokio::test]
async fn a_panic_in_a_hook_fails_only_its_own_attempt() {
    let (_, pond) = memory();
    let hooks = Arc::new(AtomicUsize::new(0));
    let ran = hooks.clone();
    pond.worker("q")
        .concurrency(50)
        .retry(Retry::none())
        .handle(move |job: Job<Work>, ctx: Context| {
            let ran = ran.clone();
            async move {
                let n = job.n;
                ctx.on_complete(move |tx| {
                    ran.fetch_add(1, Ordering::SeqCst);
                    count(tx, n)?;
                    assert!(n % 10 != 3, "three is unlucky");
                    Ok(())
                });
                Ok(())
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (0..50).map(work)).await.unwrap();
    drained(&pond).await;
    let expected: Vec<_> = (0..50).filter(|n| n % 10 != 3).map(|n| (n, 1)).collect();
    assert_eq!(sent(&pond), expected);
    let info = pond.job(ids[3]).unwrap();
    assert_eq!(info.state, State::Dead);
    assert!(info.errors[0].message.contains("three is unlucky"), "{}", info.errors[0].message);
    assert_eq!(pond.queue("q").unwrap().counts().dead, 5);
    assert!(hooks.load(Ordering::SeqCst) >= 50);
}

#[tokio::test]
async fn an_attempt_that_does_not_complete_writes_nothing() {
    let (clock, pond) = memory();
    pond.worker("q")
        .retry(Retry::fixed(SECOND).jitter(0.0))
        .handle(|job: Job<Work>, ctx: Context| async move {
            let n = job.n;
            ctx.on_complete(move |tx| count(tx, n));
            match (job.n, job.attempt()) {
                (1, 1) => Err("not yet".into()),
                (2, _) => Ok(Outcome::cancel("x")),
                (3, _) => Ok(Outcome::dead_letter("x")),
                (4, _) => panic!("x"),
                (5, _) => Ok(Outcome::snooze(HOUR)),
                _ => Ok(Outcome::done_with("kept")),
            }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (1..=5).map(work)).await.unwrap();
    drained(&pond).await;
    assert_eq!(sent(&pond), []);
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(sent(&pond), [(1, 1)]);
}

#[tokio::test]
async fn a_full_queue_refuses_the_follow_up_and_fails_the_attempt() {
    use millpond::{Capacity, QueueSettings, WhenFull};
    let (_, pond) = memory();
    let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
    pond.queue("next").unwrap().configure(settings).await.unwrap();
    pond.worker("q")
        .concurrency(1)
        .retry(Retry::fixed(HOUR))
        .handle(|_: Job<Work>, ctx: Context| async move {
            ctx.on_complete(|tx| Ok(tx.enqueue("next", work(1)).map(|_| ())?));
            Ok(())
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    drained(&pond).await;
    assert!(pond.job(ids[0]).is_err());
    let info = pond.job(ids[1]).unwrap();
    assert_eq!(info.state, State::Retrying);
    assert!(info.errors[0].message.contains("is full"), "{}", info.errors[0].message);
}

#[tokio::test]
async fn a_follow_up_in_its_own_group_keeps_the_groups_order() {
    let (_, pond) = memory();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            seen.push(job.n);
            async move {
                let n = job.n;
                if n < 3 {
                    ctx.on_complete(move |tx| Ok(tx.enqueue("q", member("g", n + 10)).map(|_| ())?));
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", [member("g", 1), member("g", 2)]).await.unwrap();
    drained(&pond).await;
    assert_eq!(log.all(), [1, 2, 11, 12]);
}

#[tokio::test]
async fn calls_of_the_queue_in_a_hook_are_refused() {
    let (_, pond) = memory();
    let inner = pond.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |_: Job<Work>, ctx: Context| {
            let pond = inner.clone();
            async move {
                ctx.on_complete(move |_| {
                    assert!(matches!(pond.enqueue("q", work(2)).wait(), Err(Error::WouldDeadlock)));
                    assert!(matches!(pond.begin_write(), Err(Error::WouldDeadlock)));
                    Ok(())
                });
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
    close(pond).await;
}

#[tokio::test]
async fn a_backoff_that_panics_after_a_failed_hook_does_not_stop_the_queue() {
    let (_, pond) = memory();
    pond.worker("q")
        .retry(Retry::custom(|_| panic!("no idea")))
        .handle(|_: Job<Work>, ctx: Context| async move {
            ctx.on_complete(|_| Err("no".into()));
            Ok(())
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(state(&pond, id), State::Retrying);
    pond.enqueue("other", work(1)).await.unwrap();
}
