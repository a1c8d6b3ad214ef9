//! A transaction that fails after it has written is undone, together with the batch that it shares. This costs few
//! more calls, however many fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::{BoxError, Context, Error, Job, Millpond, Retry, State};
use redb::{ReadableTable, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

fn rows(pond: &Millpond) -> Vec<u64> {
    match pond.begin_read().unwrap().open_table(ROWS) {
        Ok(table) => table.iter().unwrap().map(|row| row.unwrap().0.value()).collect(),
        Err(redb::TableError::TableDoesNotExist(_)) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// How often closures were called, each one and all together.
#[derive(Clone, Default)]
struct Calls(Arc<Vec<AtomicUsize>>);

impl Calls {
    fn of(closures: usize) -> Self {
        Self(Arc::new((0..closures).map(|_| AtomicUsize::new(0)).collect()))
    }

    fn note(&self, n: usize) {
        self.0[n].fetch_add(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.0.iter().map(|calls| calls.load(Ordering::SeqCst)).max().unwrap()
    }

    fn all(&self) -> usize {
        self.0.iter().map(|calls| calls.load(Ordering::SeqCst)).sum()
    }
}

fn on(disk: &SimDisk) -> Millpond {
    Millpond::builder().open_backend(disk.clone()).unwrap()
}

#[tokio::test]
async fn a_batch_whose_transactions_fail_costs_each_of_them_two_calls_at_most() {
    const CLOSURES: usize = 1_000;
    type Fails = fn(usize) -> bool;
    let fails: [(&str, Fails); 5] = [
        ("half of them", |n| n % 2 == 1),
        ("all", |_| true),
        ("all but the last", |n| n < CLOSURES - 1),
        ("the last", |n| n == CLOSURES - 1),
        ("a few", |n| n % 97 == 0),
    ];
    for (which, fails) in fails {
        let disk = SimDisk::new();
        let pond = on(&disk);
        let calls = Calls::of(CLOSURES);
        let transactions = (0..CLOSURES).map(|n| {
            let calls = calls.clone();
            pond.transaction(move |tx| {
                calls.note(n);
                tx.open_table(ROWS)?.insert(n as u64, 0)?;
                let id = tx.enqueue("q", work(n as u64))?;
                if fails(n) { Err("refused".into()) } else { Ok(id) }
            })
        });
        let transactions = transactions.collect();
        let commits = pond.metrics().commits_total;
        let answers = in_one_batch(&pond, &disk, transactions).await;
        let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(ok, (0..CLOSURES).map(|n| !fails(n)).collect::<Vec<_>>(), "{which}");
        assert!(calls.most() <= 2, "{which}: one was called {} times", calls.most());
        // One commit for the first transaction, and one for those that succeed.
        assert!(pond.metrics().commits_total <= commits + 2, "{which}");
        let there: Vec<u64> = (0..CLOSURES).filter(|n| !fails(*n)).map(|n| n as u64).collect();
        assert_eq!((rows(&pond), pond.queue("q").unwrap().counts().pending), (there.clone(), there.len() as u64));
        let mut ids: Vec<u64> = answers.into_iter().flatten().map(|answer| answer.id.get()).collect();
        ids.sort_unstable();
        assert_eq!(ids, (2..2 + ids.len() as u64).collect::<Vec<_>>(), "{which}: no gaps, no doubles");
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_batch_whose_completions_fail_costs_each_of_them_two_calls_at_most() {
    const JOBS: usize = 200;
    let disk = SimDisk::new();
    let pond = on(&disk);
    let calls = Calls::of(JOBS);
    let counted = calls.clone();
    let (gate, keeper) = gate();
    let mut keeper = keeper;
    pond.worker("q")
        .concurrency(JOBS)
        .retry(Retry::none())
        .no_timeout()
        .handle(move |job: Job<Work>, ctx: Context| {
            let (gate, calls, n) = (gate.clone(), counted.clone(), job.n);
            async move {
                gate.pass(n).await;
                ctx.on_complete(move |tx| {
                    calls.note(n as usize);
                    tx.open_table(ROWS)?.insert(n, 0)?;
                    if n % 2 == 1 { Err("refused".into()) } else { Ok(()) }
                });
                Ok(())
            }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (0..JOBS as u64).map(work)).await.unwrap();
    keeper.next(JOBS).await;
    // The starts are in the file: only the ends remain to be written.
    let held = hold_writer(&pond, &disk).await;
    keeper.let_go(JOBS);
    while pond.queue("q").unwrap().counts().running > 0 {
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    held.await.unwrap().unwrap();
    drained(&pond).await;
    assert!(calls.most() <= 2, "one was called {} times, all {} times", calls.most(), calls.all());
    for (n, id) in ids.into_iter().enumerate() {
        match n % 2 {
            1 => assert_eq!(state(&pond, id), State::Dead),
            _ => assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. }))),
        }
    }
    assert_eq!(rows(&pond), (0..JOBS as u64).step_by(2).collect::<Vec<_>>());
    let metrics = pond.metrics();
    assert_eq!((metrics.completed_total, metrics.failed_total), (JOBS as u64 / 2, JOBS as u64 / 2));
    assert_sound(&pond).await;
}

/// What a failed transaction wrote does not exist for the ones after it, and answers that depended on it are
/// discarded.
#[tokio::test]
async fn each_answer_is_as_if_its_transaction_had_run_alone() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    pond.transaction(|tx| Ok(tx.open_table(ROWS)?.insert(0, 0).map(drop)?)).await.unwrap();
    let write = |write: fn(&mut redb::Table<'_, u64, u64>) -> Result<bool, BoxError>| {
        pond.transaction(move |tx| {
            let ok = write(&mut tx.open_table(ROWS)?)?;
            if ok { Ok(()) } else { Err("refused".into()) }
        })
    };
    // Each one reads what exists before it, and writes before it fails.
    let transactions = vec![
        // Removes row 0, and fails.
        write(|rows| Ok(rows.remove(0)?.is_none())),
        // Row 0 exists: fails.
        write(|rows| Ok(rows.insert(0, 1)?.is_none())),
        // The first row 1: succeeds.
        write(|rows| Ok(rows.insert(1, 1)?.is_none())),
        // Inserts row 2, and fails.
        write(|rows| rows.insert(2, 2).map(|_| false).map_err(Into::into)),
        // Row 2 does not exist: succeeds.
        write(|rows| Ok(rows.insert(2, 3)?.is_none())),
        // Row 2 exists now: fails.
        write(|rows| Ok(rows.insert(2, 4)?.is_none())),
        // Fails again.
        write(|rows| Ok(rows.remove(0)?.is_none())),
        // Row 0 still exists: fails.
        write(|rows| Ok(rows.insert(0, 5)?.is_none())),
    ];
    let answers = in_one_batch(&pond, &disk, transactions).await;
    let ok: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!((ok[0], ok[1], ok[2], ok[3], ok[6], ok[7]), (false, false, true, false, false, false), "{ok:?}");
    assert!(ok[4] ^ ok[5], "one of them was the first: {ok:?}");
    let table = pond.begin_read().unwrap().open_table(ROWS).unwrap();
    let values: Vec<_> = table.iter().unwrap().map(|row| row.unwrap()).map(|(k, v)| (k.value(), v.value())).collect();
    assert_eq!(values, [(0, 0), (1, 1), (2, if ok[4] { 3 } else { 4 })]);
}

/// A refusal counts only if the state that it was based on is stored.
#[tokio::test]
async fn a_call_refused_because_of_an_undone_transaction_is_tried_again() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    let full = millpond::QueueSettings::default().capacity(millpond::Capacity::jobs(1));
    pond.queue("small").unwrap().configure(full).await.unwrap();
    let takes_the_room = pond.transaction(|tx| {
        tx.enqueue("small", work(1))?;
        Err::<(), _>("no".into())
    });
    let finds_room = || pond.transaction(|tx| Ok(tx.enqueue("small", work(2)).map(|_| ())?));
    let answers = in_one_batch(&pond, &disk, vec![takes_the_room, finds_room(), finds_room()]).await;
    assert!(answers[0].is_err());
    assert!(answers[1].is_ok() ^ answers[2].is_ok(), "there is room for one: {answers:?}");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn plain_calls_share_a_batch_with_failing_transactions() {
    let disk = SimDisk::new();
    let pond = on(&disk);
    let calls = (0..300u64).map(|n| match n % 3 {
        0 => pond.enqueue("q", work(n)),
        1 => pond.transaction(move |tx| Ok(tx.enqueue("q", work(n))?)),
        _ => pond.transaction(move |tx| {
            tx.enqueue("q", work(n))?;
            Err("no".into())
        }),
    });
    let calls = calls.collect();
    let commits = pond.metrics().commits_total;
    let answers = in_one_batch(&pond, &disk, calls).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_ok(), n % 3 != 2);
    }
    assert!(pond.metrics().commits_total <= commits + 2);
    assert_eq!(pond.queue("q").unwrap().counts().pending, 200);
    assert_sound(&pond).await;
}
