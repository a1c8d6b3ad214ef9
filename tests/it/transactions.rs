//! The application's rows and the jobs of one transaction are committed together or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{Capacity, Error, JobId, Millpond, QueueSettings};
use redb::{MultimapTableDefinition, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::support::*;

const USERS: TableDefinition<u64, &str> = TableDefinition::new("users");
const TAGS: MultimapTableDefinition<u64, &str> = MultimapTableDefinition::new("tags");

fn users(pond: &Millpond) -> Vec<u64> {
    let read = pond.begin_read().unwrap();
    match read.open_table(USERS) {
        Ok(table) => table.iter().unwrap().map(|row| row.unwrap().0.value()).collect(),
        Err(redb::TableError::TableDoesNotExist(_)) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

fn source(error: Error) -> String {
    assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
    std::error::Error::source(&error).unwrap().to_string()
}

#[tokio::test]
async fn rows_and_jobs_are_committed_together() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = pond
        .transaction(|tx| {
            tx.open_table(USERS)?.insert(7, "ada")?;
            tx.open_multimap_table(TAGS)?.insert(7, "new")?;
            Ok(tx.enqueue("q", work(7))?)
        })
        .await
        .unwrap();
    assert_eq!(id, JobId::new(1));
    let after = disk.crashed("copy.redb");
    assert_eq!((users(&after), pending(&after, "q")), (vec![7], 1));
}

#[tokio::test]
async fn an_error_in_a_closure_writes_nothing() {
    let (_, pond) = memory();
    let failed = pond
        .transaction(|tx| {
            tx.open_table(USERS)?.insert(7, "ada")?;
            tx.enqueue("q", work(7))?;
            Err::<(), _>("changed my mind".into())
        })
        .await;
    assert_eq!(source(failed.unwrap_err()), "changed my mind");
    assert_eq!((users(&pond), pending(&pond, "q")), (vec![], 0));
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 0);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_panic_in_a_closure_writes_nothing_and_the_queue_continues() {
    let (_, pond) = memory();
    let failed = pond
        .transaction(|tx| -> Result<(), _> {
            tx.open_table(USERS)?.insert(7, "ada")?;
            tx.enqueue("q", work(7))?;
            panic!("out of {}", "cheese")
        })
        .await;
    assert!(source(failed.unwrap_err()).contains("out of cheese"));
    assert_eq!((users(&pond), pending(&pond, "q")), (vec![], 0));
    pond.transaction(|tx| Ok(tx.open_table(USERS)?.insert(8, "bob").map(|_| ())?)).await.unwrap();
    assert_eq!(users(&pond), [8]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_closure_that_fails_does_not_affect_the_rest_of_its_batch() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let calls: Vec<_> = (0..6u64)
        .map(|n| {
            pond.transaction(move |tx| {
                tx.open_table(USERS)?.insert(n, "x")?;
                let id = tx.enqueue("q", work(n))?;
                match n {
                    2 => Err("refused".into()),
                    4 => panic!("crashed"),
                    _ => Ok(id),
                }
            })
        })
        .collect();
    let commits = pond.metrics().commits_total;
    let answers = in_one_batch(&pond, &disk, calls).await;
    assert_eq!(pond.metrics().commits_total, commits + 2, "the six shared one commit");
    let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(ok, [true, true, false, true, false, true]);
    let ids: Vec<u64> = answers.into_iter().flatten().map(|answer| answer.id.get()).collect();
    assert_eq!(ids, [2, 3, 4, 5], "no gaps, no duplicates");
    assert_eq!((users(&pond), pending(&pond, "q")), (vec![0, 1, 3, 5], 4));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_closure_that_runs_more_than_once_is_written_once() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let good = pond.transaction(move |tx| {
        counted.fetch_add(1, Ordering::SeqCst);
        tx.enqueue("q", work(1))?;
        Ok(())
    });
    let bad = pond.transaction(|tx| {
        tx.open_table(USERS)?.insert(1, "x")?;
        Err("no".into())
    });
    in_one_batch(&pond, &disk, vec![good, bad]).await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert_eq!(pending(&pond, "q"), 1);
}

#[tokio::test]
async fn an_error_that_the_closure_handles_does_not_abort() {
    let (_, pond) = memory();
    pond.queue("small").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(1))).await.unwrap();
    let refused = pond
        .transaction(|tx| {
            tx.enqueue("small", work(1))?;
            let full = tx.enqueue("small", work(2)).unwrap_err();
            let name = tx.enqueue("no such name", work(2)).unwrap_err();
            tx.enqueue("q", work(3))?;
            Ok((full.to_string(), name.to_string()))
        })
        .await
        .unwrap();
    assert!(refused.0.contains("is full") && refused.1.contains("invalid queue name"), "{refused:?}");
    assert_eq!((pending(&pond, "small"), pending(&pond, "q")), (1, 1));
}

#[tokio::test]
async fn calls_of_the_queue_that_wait_are_refused_inside_a_closure() {
    let (_, pond) = memory();
    let inner = pond.clone();
    let answers = pond
        .transaction(move |_| {
            let enqueue = inner.enqueue("q", work(1)).wait();
            let nested = inner.transaction(|_| Ok(())).wait();
            let pause = inner.queue("q")?.pause().wait();
            let begin = inner.begin_write().map(|_| ());
            let deadlock = |answer: Result<(), Error>| matches!(answer, Err(Error::WouldDeadlock));
            Ok([deadlock(enqueue.map(|_| ())), deadlock(nested), deadlock(pause.map(|_| ())), deadlock(begin)])
        })
        .await
        .unwrap();
    assert_eq!(answers, [true; 4]);
    pond.enqueue("q", work(2)).await.unwrap();
}

#[tokio::test]
async fn reading_the_queue_inside_a_closure_is_allowed() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let inner = pond.clone();
    let seen = pond.transaction(move |_| Ok((inner.job(id)?.id, inner.queue("q")?.counts().pending))).await.unwrap();
    assert_eq!(seen, (id.id, 1));
}

#[tokio::test]
async fn a_guard_commits_rows_and_jobs() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    let mut guard = pond.begin_write().unwrap();
    guard.open_table(USERS).unwrap().insert(7, "ada").unwrap();
    let id = guard.enqueue("q", work(7)).unwrap();
    let second = guard.enqueue("later", work(8)).unwrap();
    guard.commit().unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [7]);
    assert_eq!([id, second], [JobId::new(1), JobId::new(2)]);
    assert_eq!(pond.job(second).unwrap().queue, "later");
    let after = disk.crashed("copy.redb");
    assert_eq!((users(&after), pending(&after, "later")), (vec![7], 1));
}

#[tokio::test]
async fn a_dropped_guard_writes_nothing() {
    let (_, pond) = memory();
    let mut guard = pond.begin_write().unwrap();
    guard.open_table(USERS).unwrap().insert(7, "ada").unwrap();
    guard.enqueue("q", work(7)).unwrap();
    drop(guard);
    assert_eq!((users(&pond), pending(&pond, "q")), (vec![], 0));
    assert_eq!(pond.enqueue("q", work(1)).await.unwrap(), JobId::new(1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn calls_of_the_queue_are_refused_on_the_thread_that_holds_a_guard() {
    let (_, pond) = memory();
    let guard = pond.begin_write().unwrap();
    assert!(matches!(pond.enqueue("q", work(1)).wait(), Err(Error::WouldDeadlock)));
    assert!(matches!(pond.enqueue("q", work(1)).await, Err(Error::WouldDeadlock)));
    assert!(matches!(pond.begin_write(), Err(Error::WouldDeadlock)));
    guard.commit().unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
}

#[tokio::test]
async fn a_guard_on_another_thread_makes_others_wait_and_ids_stay_in_order() {
    let (_, pond) = memory();
    let mut guard = pond.begin_write().unwrap();
    let first = guard.enqueue("q", work(1)).unwrap();
    let other = pond.clone();
    let thread = std::thread::spawn(move || other.enqueue("q", work(2)).wait());
    guard.commit().unwrap();
    assert!(thread.join().unwrap().unwrap() > first);
}

#[tokio::test]
async fn a_guard_that_overfills_a_queue_fails_at_commit_and_writes_nothing() {
    let (_, pond) = memory();
    pond.queue("q").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(1))).await.unwrap();
    let mut guard = pond.begin_write().unwrap();
    guard.open_table(USERS).unwrap().insert(7, "ada").unwrap();
    guard.enqueue("q", work(1)).unwrap();
    guard.enqueue("q", work(2)).unwrap();
    assert!(matches!(guard.commit(), Err(Error::QueueFull { .. })));
    assert_eq!((users(&pond), pending(&pond, "q")), (vec![], 0));
    pond.enqueue("q", work(3)).await.unwrap();
    assert_sound(&pond).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transactions_share_commits_and_keep_their_rows() {
    let (_, pond) = memory();
    let calls: Vec<_> = (0..64u64)
        .map(|n| {
            tokio::spawn(pond.transaction(move |tx| {
                tx.open_table(USERS)?.insert(n, "x")?;
                Ok((n, tx.enqueue("q", work(n))?))
            }))
        })
        .collect();
    let mut ids = Vec::new();
    for call in calls {
        let (n, id) = call.await.unwrap().unwrap();
        let payload: Work = pond.job(id).unwrap().payload.decode().unwrap();
        assert_eq!(payload.n, n, "the id is that of this closure's job");
        ids.push(id.id.get());
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=64).collect::<Vec<_>>());
    assert_eq!(pond.begin_read().unwrap().open_table(USERS).unwrap().len().unwrap(), 64);
}

#[tokio::test]
async fn a_transaction_that_writes_nothing_succeeds() {
    let (_, pond) = memory();
    assert_eq!(pond.transaction(|_| Ok(5)).await.unwrap(), 5);
}

#[tokio::test]
async fn a_transactions_delayed_and_grouped_jobs_behave_like_any_other() {
    let (clock, pond) = memory();
    let ran = record(&pond, "q", 4);
    pond.transaction(|tx| {
        tx.enqueue("q", work(1).delay(HOUR))?;
        tx.enqueue("q", member("g", 2))?;
        tx.enqueue("q", member("g", 3))?;
        Ok(())
    })
    .await
    .unwrap();
    drained(&pond).await;
    assert_eq!(ran.take(), [2, 3]);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_closure_can_hold_the_last_handle() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let held = pond.clone();
    let call = pond.transaction(move |tx| {
        assert_eq!(held.queue("q")?.counts().pending, 0);
        Ok(tx.enqueue("q", work(1))?)
    });
    drop(pond);
    call.await.unwrap();
}

/// An error of the application, with which its closures fail.
#[derive(Debug, PartialEq)]
struct SoldOut {
    left: u64,
}

impl std::fmt::Display for SoldOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "only {} are left", self.left)
    }
}

impl std::error::Error for SoldOut {}

#[tokio::test]
async fn the_closures_own_error_comes_back_as_its_type() {
    let (_, pond) = memory();
    let fail = || {
        pond.transaction(|tx| {
            tx.enqueue("q", work(1))?;
            Err::<(), _>(SoldOut { left: 3 }.into())
        })
    };
    let error = fail().await.unwrap_err();
    assert_eq!(error.aborted_ref::<SoldOut>(), Some(&SoldOut { left: 3 }));
    assert_eq!(error.aborted_ref::<std::fmt::Error>(), None);
    let error = error.aborted::<std::fmt::Error>().unwrap_err();
    assert_eq!(error.aborted::<SoldOut>().unwrap(), SoldOut { left: 3 }, "a wrong guess loses nothing");
    assert_eq!(
        std::thread::scope(|scope| scope.spawn(|| fail().wait()).join().unwrap())
            .unwrap_err()
            .aborted::<SoldOut>()
            .unwrap()
            .left,
        3
    );
    assert_eq!(pending(&pond, "q"), 0);

    let refused = pond.transaction(|tx| Ok(tx.enqueue("no name", work(1))?)).await.unwrap_err();
    assert!(matches!(refused.aborted::<Error>(), Ok(Error::InvalidName { .. })));
    let panicked = pond.transaction(|_| -> Result<(), _> { panic!("no") }).await.unwrap_err();
    assert!(panicked.aborted_ref::<SoldOut>().is_none());
    close(pond.clone()).await;
    let closed = pond.transaction(|_| Ok(())).await.unwrap_err();
    assert!(matches!(closed.aborted::<SoldOut>(), Err(Error::Closed)));
}
