//! Transactions that fail only because of the writes of another failed transaction delay no other caller.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use millpond::{Commit, Error, Millpond};
use redb::{ReadableTable, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// The row that the first transaction of a batch writes before it fails.
const LEFT_BEHIND: u64 = u64::MAX;

const CLOSURES: u64 = 200;

/// When a transaction fails.
#[derive(Clone, Copy, PartialEq)]
enum Fails {
    IfItIsThere,
    UnlessItIsThere,
    Always,
    Never,
}

/// Records how many commits had been made when it was woken, on the thread that wakes it.
struct NotesCommits {
    pond: Millpond,
    commits: AtomicU64,
    /// The task that waits for the same, if one does by now.
    waits: Mutex<Option<Waker>>,
}

impl Wake for NotesCommits {
    fn wake(self: Arc<Self>) {
        self.commits.store(self.pond.metrics().commits_total, Ordering::SeqCst);
        if let Some(task) = self.waits.lock().unwrap().take() {
            task.wake();
        }
    }
}

/// Puts a transaction that writes [`LEFT_BEHIND`] and fails, others that check for that row, and a plain call into
/// one batch. Returns how many commits were made before the plain call was answered, and how many in all.
async fn share_a_batch(fails: impl Fn(u64) -> Fails) -> (u64, u64) {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let calls: Arc<Vec<AtomicUsize>> = Arc::new((0..=CLOSURES).map(|_| AtomicUsize::new(0)).collect());
    let transaction = |n: u64, fails: Fails| -> Commit<()> {
        let calls = calls.clone();
        pond.transaction(move |tx| {
            calls[n as usize].fetch_add(1, Ordering::SeqCst);
            let mut rows = tx.open_table(ROWS)?;
            let is_there = rows.get(LEFT_BEHIND)?.is_some();
            rows.insert(if n == 0 { LEFT_BEHIND } else { n }, 0)?;
            match fails {
                Fails::Always => Err("on purpose".into()),
                Fails::IfItIsThere if is_there => Err("it is there".into()),
                Fails::UnlessItIsThere if !is_there => Err("it is not there".into()),
                _ => Ok(()),
            }
        })
    };
    let held = hold_writer(&pond, &disk).await;
    let mut closures = vec![tokio::spawn(transaction(0, Fails::Always))];
    closures.extend((1..=CLOSURES).map(|n| tokio::spawn(transaction(n, fails(n)))));
    for _ in 0..=CLOSURES {
        tokio::task::yield_now().await;
    }
    let noted = Arc::new(NotesCommits { pond: pond.clone(), commits: AtomicU64::new(0), waits: Mutex::default() });
    let waker = Waker::from(noted.clone());
    let mut plain = std::pin::pin!(pond.enqueue("q", work(1)));
    assert!(plain.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let before = pond.metrics().commits_total;
    disk.release_syncs();
    held.await.unwrap().unwrap();
    for (n, closure) in closures.into_iter().enumerate() {
        let expected = n > 0 && matches!(fails(n as u64), Fails::IfItIsThere | Fails::Never);
        match closure.await.unwrap() {
            Ok(()) => assert!(expected, "{n} succeeded"),
            Err(Error::Aborted { .. }) => assert!(!expected, "{n} failed"),
            Err(other) => panic!("{n}: {other}"),
        }
        let calls = calls[n].load(Ordering::SeqCst);
        assert!(calls <= 3, "{n} was called {calls} times");
    }
    // It may be answered a moment after the others.
    let answered = poll_fn(|task| {
        *noted.waits.lock().unwrap() = Some(task.waker().clone());
        plain.as_mut().poll(&mut Context::from_waker(&waker))
    });
    answered.await.unwrap();
    let rows = pond.begin_read().unwrap().open_table(ROWS).ok();
    let rows: Vec<u64> = rows.iter().flat_map(|rows| rows.iter().unwrap().map(|row| row.unwrap().0.value())).collect();
    let there = (1..=CLOSURES).filter(|n| matches!(fails(*n), Fails::IfItIsThere | Fails::Never));
    assert_eq!(rows, there.collect::<Vec<_>>());
    assert_sound(&pond).await;
    // One of them is the commit of the call that held the disk.
    let held = before + 1;
    (noted.commits.load(Ordering::SeqCst) - held, pond.metrics().commits_total - held)
}

#[tokio::test]
async fn transactions_that_fail_only_because_of_a_failed_one_share_a_commit() {
    let (plain, all) = share_a_batch(|_| Fails::IfItIsThere).await;
    assert_eq!((plain, all), (1, 2));
}

#[tokio::test]
async fn a_plain_call_waits_for_one_commit_whatever_the_transactions_do() {
    let kinds = [Fails::IfItIsThere, Fails::Always, Fails::UnlessItIsThere, Fails::Never];
    for first in kinds {
        for second in kinds {
            let (plain, all) = share_a_batch(|n| if n % 2 == 0 { first } else { second }).await;
            assert!(plain <= 1, "{plain} commits before it");
            assert!(all <= 2 + CLOSURES / 2, "{all} commits for {CLOSURES} transactions");
        }
    }
}
