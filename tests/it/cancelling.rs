//! A cancel works in every state: a job that runs is asked to stop, and does not run again, also after a crash.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::{
    CancelOutcome, Context, Error, Explanation, Job, JobFilter, JobId, JobPatch, Millpond, Outcome, Priority, Retry,
    State, WorkerBuilder,
};
use redb::TableDefinition;

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
const WHY: &str = "the order was withdrawn";

/// A worker whose handlers wait at a gate and then return `outcome`.
fn then(builder: WorkerBuilder, outcome: impl Fn() -> Outcome + Send + Sync + 'static) -> Keeper {
    let (gate, keeper) = gate();
    let outcome = Arc::new(outcome);
    builder
        .retry(Retry::fixed(SECOND))
        .handle(move |job: Job<Work>| {
            let (gate, outcome) = (gate.clone(), outcome.clone());
            async move {
                gate.pass(job.n).await;
                Ok(outcome())
            }
        })
        .start()
        .unwrap();
    keeper
}

fn assert_cancelled(pond: &Millpond, id: impl Into<JobId>) {
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some(WHY)), "{job:?}");
    assert_eq!((job.run_at, job.ended_at.is_some()), (None, true));
}

#[tokio::test]
async fn an_attempt_that_does_not_complete_the_job_ends_it_as_cancelled_whatever_it_says() {
    type Ends = fn() -> Outcome;
    let ends: [Ends; 5] = [
        || Outcome::retry_after("no", SECOND),
        || Outcome::snooze(SECOND),
        || Outcome::rate_limited(SECOND),
        || Outcome::dead_letter("broken"),
        || Outcome::cancel("by itself"),
    ];
    for end in ends {
        for grouped in [false, true] {
            let (clock, pond) = memory();
            let mut keeper = then(pond.worker("q"), end);
            let job = if grouped { member("g", 1) } else { work(1) };
            let id = pond.enqueue("q", job.unique_key("k")).await.unwrap();
            keeper.entered().await;
            assert_eq!(pond.cancel(id, WHY).await.unwrap(), CancelOutcome::Requested);
            assert_eq!(pond.cancel(id, "again").await.unwrap(), CancelOutcome::Requested);
            let why = pond.explain(id).unwrap();
            assert!(matches!(&why, Explanation::CancelRequested { reason, .. } if reason == WHY), "{why}");
            keeper.let_go(1);
            drained(&pond).await;
            assert_cancelled(&pond, id);
            let ended = pond.cancel(id, "too late").await.unwrap();
            assert_eq!(ended, CancelOutcome::AlreadyEnded(State::Cancelled));
            clock.advance(HOUR);
            drained(&pond).await;
            assert!(keeper.waiting().is_empty(), "it does not run again");
            assert!(pond.enqueue("q", work(2).unique_key("k")).await.unwrap().is_stored(), "its key is free");
            assert_sound(&pond).await;
        }
    }
}

#[tokio::test]
async fn a_handler_that_still_completes_its_job_wins_and_its_writes_commit() {
    let (_, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                ctx.on_complete(|tx| {
                    tx.open_table(ROWS)?.insert(1, 1)?;
                    Ok(())
                });
                Outcome::done_json(&7)
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    assert_eq!(pond.cancel(id, WHY).await.unwrap(), CancelOutcome::Requested);
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().state, State::Completed);
    assert!(pond.begin_read().unwrap().open_table(ROWS).is_ok());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_async_handler_sees_the_token_and_is_dropped_after_the_grace() {
    let (clock, pond) = memory_with(|builder| builder.cancel_grace(SECOND * 5));
    let (gate, mut keeper) = gate();
    let (told, is_told) = (Arc::new(AtomicUsize::new(0)), Log::new());
    let (counting, log) = (told.clone(), is_told.clone());
    pond.worker("q")
        .handle(move |job: Job<Work>, ctx: Context| {
            let (gate, told, log) = (gate.clone(), counting.clone(), log.clone());
            async move {
                let noted = async {
                    ctx.cancelled().await;
                    told.fetch_add(1, Ordering::SeqCst);
                    log.push(job.n);
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = gate.pass(job.n) => {}
                    () = noted => {}
                }
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    pond.cancel(id, WHY).await.unwrap();
    settled(&pond).await;
    assert_eq!(pond.job(id).unwrap().state, State::Running);
    clock.advance(SECOND * 5);
    let ended = pond.finished(id).await.unwrap();
    assert_eq!((ended.state, told.load(Ordering::SeqCst)), (State::Cancelled, 1));
    assert_cancelled(&pond, id);
    assert_sound(&pond).await;
}

#[test]
fn a_blocking_handler_keeps_its_slot_and_is_counted() {
    in_time("a blocking handler is cancelled", || {
        let (clock, pond) = memory_with(|builder| builder.cancel_grace(SECOND));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let (entered, is_entered) = std::sync::mpsc::channel::<()>();
        pond.worker("q")
            .handle_blocking(move |_: Job<Work>, ctx: Context| {
                entered.send(()).unwrap();
                wait.lock().unwrap().recv().unwrap();
                assert!(ctx.is_cancelled());
                Err::<(), _>("stopped".into())
            })
            .start()
            .unwrap();
        let id = pond.enqueue("q", work(1)).wait().unwrap();
        is_entered.recv().unwrap();
        assert_eq!(pond.cancel(id, WHY).wait().unwrap(), CancelOutcome::Requested);
        clock.advance(SECOND * 2);
        block_on(settled(&pond));
        assert_eq!((pond.job(id).unwrap().state, pond.metrics().stuck), (State::Running, 1));
        go.send(()).unwrap();
        assert_eq!(pond.finished(id).wait().unwrap().state, State::Cancelled);
        assert_cancelled(&pond, id);
        assert_eq!(pond.job(id).unwrap().errors[0].message, "stopped");
    });
}

#[tokio::test]
async fn after_a_crash_a_job_whose_cancel_was_requested_does_not_run_again() {
    for grouped in [false, true] {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (_worker, mut keeper) = gated(&pond, "q", 2);
        let job = |n| if grouped { member(&format!("g{n}"), n) } else { work(n) };
        let ids = pond.enqueue_many("q", [job(1), job(2)]).await.unwrap();
        keeper.next(2).await;
        assert_eq!(pond.cancel(ids[0], WHY).await.unwrap(), CancelOutcome::Requested);

        let crashed = disk.crashed("copy");
        assert_cancelled(&crashed, ids[0]);
        assert_eq!(crashed.job(ids[0]).unwrap().errors.len(), 1, "its attempt is on the record");
        let ran = record(&crashed, "q", 2);
        drained(&crashed).await;
        assert!(!ran.all().contains(&1));
        assert_sound(&crashed).await;
        close(crashed).await;
    }
}

#[tokio::test]
async fn a_shutdown_of_a_job_whose_cancel_was_requested_ends_it() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    let id = pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    pond.cancel(id, WHY).await.unwrap();
    pond.shutdown(Duration::ZERO).await.unwrap();
    let pond = disk.open();
    assert_cancelled(&pond, id);
    close(pond).await;
}

#[tokio::test]
async fn a_selection_requests_the_cancel_of_running_jobs() {
    let (_, pond) = memory();
    let mut keeper = then(pond.worker("q").concurrency(1), || Outcome::snooze(SECOND));
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    keeper.entered().await;
    let done = pond.select(&JobFilter::new().queue("q")).cancel(WHY).await.unwrap();
    assert_eq!((done.matched, done.changed), (2, 2));
    keeper.let_go(1);
    drained(&pond).await;
    ids.into_iter().for_each(|id| assert_cancelled(&pond, id));
}

#[tokio::test]
async fn a_transaction_cancels_and_changes_jobs_if_it_commits() {
    let (_, pond) = memory();
    let mut keeper = then(pond.worker("q").concurrency(1), || Outcome::snooze(SECOND));
    let ids = pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    let (runs, waits, changed) = (ids[0], ids[1], ids[2]);
    keeper.entered().await;
    let undone = pond
        .transaction(move |tx| {
            tx.open_table(ROWS)?.insert(1, 1)?;
            assert_eq!(tx.cancel(runs, WHY)?, CancelOutcome::Requested);
            assert_eq!(tx.cancel(waits, WHY)?, CancelOutcome::Cancelled);
            Err::<(), _>("no".into())
        })
        .await;
    undone.unwrap_err();
    assert_eq!(pond.explain(runs).unwrap(), Explanation::Running);
    assert_eq!(state(&pond, waits), State::Pending);

    let outcomes = pond
        .transaction(move |tx| {
            tx.open_table(ROWS)?.insert(1, 1)?;
            let new = tx.enqueue("q", work(9))?;
            tx.update(changed, JobPatch::new().payload(Work { n: 33 }))?;
            Ok([tx.cancel(runs, WHY)?, tx.cancel(waits, WHY)?, tx.cancel(waits, WHY)?, tx.cancel(new, WHY)?])
        })
        .await
        .unwrap();
    use CancelOutcome::{AlreadyEnded, Cancelled, Requested};
    assert_eq!(outcomes, [Requested, Cancelled, AlreadyEnded(State::Cancelled), Cancelled]);
    assert!(matches!(pond.explain(runs).unwrap(), Explanation::CancelRequested { .. }));
    keeper.let_go(2);
    drained(&pond).await;
    assert_cancelled(&pond, runs);
    assert_cancelled(&pond, waits);
    assert_eq!(pond.job(changed).unwrap().payload.decode::<Work>().unwrap().n, 33);
    assert_eq!(pond.job(changed).unwrap().snoozes, 1, "the job that was changed runs");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_guard_cancels_and_changes_jobs_with_its_commit() {
    let (_, pond) = memory();
    let mut keeper = then(pond.worker("q").concurrency(1), || Outcome::snooze(SECOND));
    let ids = pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    let (runs, waits, changed) = (ids[0], ids[1], ids[2]);
    keeper.entered().await;

    let mut undone = pond.begin_write().unwrap();
    undone.cancel(waits, WHY);
    drop(undone);
    assert_eq!(state(&pond, waits), State::Pending);

    let mut guard = pond.begin_write().unwrap();
    guard.open_table(ROWS).unwrap().insert(1, 1).unwrap();
    let new = guard.enqueue("q", work(9)).unwrap();
    [runs, waits, new].into_iter().for_each(|id| guard.cancel(id, WHY));
    guard.cancel(JobId::new(1_000), "passed over: there is no such job");
    guard.update(changed, JobPatch::new().payload(Work { n: 33 }));
    guard.commit().unwrap();
    assert!(matches!(pond.explain(runs).unwrap(), Explanation::CancelRequested { .. }));
    assert_cancelled(&pond, waits);
    assert_cancelled(&pond, new);
    keeper.let_go(2);
    drained(&pond).await;
    assert_cancelled(&pond, runs);
    assert_eq!(pond.job(changed).unwrap().payload.decode::<Work>().unwrap().n, 33);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_guard_whose_change_is_refused_stores_nothing() {
    let (_, pond) = memory();
    let ended = pond.enqueue("q", work(1)).await.unwrap();
    pond.cancel(ended, WHY).await.unwrap();
    let waits = pond.enqueue("q", work(2)).await.unwrap();
    let mut guard = pond.begin_write().unwrap();
    guard.open_table(ROWS).unwrap().insert(1, 1).unwrap();
    guard.cancel(waits, WHY);
    guard.update(ended, JobPatch::new().priority(Priority::FIRST));
    let refused = guard.commit();
    assert!(matches!(refused, Err(Error::NotAllowed { state: State::Cancelled, .. })), "{refused:?}");
    assert_eq!(state(&pond, waits), State::Pending);
    assert!(pond.begin_read().unwrap().open_table(ROWS).is_err());
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [2], "a job that was withdrawn for nothing starts");
    assert_sound(&pond).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_transaction_has_cancelled_never_starts() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 4);
    let mut cancelled = Vec::new();
    for n in 0..200 {
        let id = pond.enqueue("q", if n % 2 == 0 { work(n) } else { member("g", n) }).await.unwrap();
        let answer = pond.transaction(move |tx| Ok(tx.cancel(id, WHY).ok())).await.unwrap();
        let ends = answer == Some(CancelOutcome::Requested)
            && matches!(pond.finished(id).await, Ok(job) if job.state == State::Cancelled);
        if ends || answer == Some(CancelOutcome::Cancelled) {
            cancelled.push(n);
        }
    }
    drained(&pond).await;
    let mut all = ran.all();
    all.extend(&cancelled);
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>(), "each ran or was cancelled, and none did both");
    assert_sound(&pond).await;
}
