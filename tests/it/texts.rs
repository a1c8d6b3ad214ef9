//! Texts of handlers and callers are kept up to a limit, and a result that is too large to be kept is a named error.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use millpond::{Context, Error, Event, FailureKind, Job, JobFilter, JobInfo, Millpond, NewJob, Outcome, Retry, State};
use redb::{ReadableTableMetadata, TableDefinition};

use crate::support::*;

const MIB: usize = 1 << 20;

/// Longer than any text that is kept.
fn long() -> String {
    "é".repeat(10 * MIB)
}

#[track_caller]
fn is_cut(text: &str) {
    assert!(text.len() <= 4_096 && text.len() > 4_000 && text.ends_with("é…"), "{} bytes", text.len());
}

async fn ended(pond: &Millpond, answer: fn() -> Outcome) -> JobInfo {
    let handler = move |_: Job<Work>| async move { Ok(answer()) };
    let worker = pond.worker("q").retry(Retry::none()).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    drained(pond).await;
    worker.stop();
    pond.job(id).unwrap()
}

#[tokio::test]
async fn every_reason_is_cut_off_at_its_limit() {
    let (_, pond) = memory();
    let mut events = pond.events();
    let by_handler = ended(&pond, || Outcome::cancel(long())).await;
    let given_up = ended(&pond, || Outcome::dead_letter(long())).await;
    let cancelled = pond.enqueue("q", work(2)).await.unwrap();
    pond.cancel(cancelled, long()).await.unwrap();
    for job in [by_handler, given_up, pond.job(cancelled).unwrap()] {
        is_cut(&job.reason.unwrap());
    }
    settled(&pond).await;
    let mut told = 0;
    while let Some(Ok(event)) = events.try_next() {
        if let Event::Cancelled { reason, .. } | Event::Dead { reason, .. } = event {
            is_cut(&reason);
            told += 1;
        }
    }
    assert_eq!(told, 3);
    let (short, exact) = ("no longer wanted", "x".repeat(4_096));
    for reason in [short, &exact] {
        let id = pond.enqueue("q", work(3)).await.unwrap();
        pond.cancel(id, reason).await.unwrap();
        assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some(reason));
    }
}

/// An error that is its own source.
#[derive(Debug)]
struct Endless;

impl std::fmt::Display for Endless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("endless: ")
    }
}

impl std::error::Error for Endless {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&Endless)
    }
}

#[derive(Debug)]
struct Outer(Endless);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("outer")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn the_sources_of_an_error_are_followed_up_to_a_limit() {
    let (_, pond) = memory();
    let job = ended(&pond, || Outcome::retry(Outer(Endless))).await;
    assert!(job.errors[0].message.starts_with("outer: endless"), "{}", job.errors[0].message);
    assert!(job.errors[0].message.len() <= 4_096);
}

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

#[tokio::test]
async fn a_result_above_its_limit_fails_its_attempt_and_the_job_becomes_a_dead_letter() {
    let (clock, pond) = memory();
    let (len, ran) = (Arc::new(AtomicUsize::new(MIB + 1)), Arc::new(AtomicUsize::new(0)));
    let (wanted, runs) = (len.clone(), ran.clone());
    let handler = move |_: Job<Work>, ctx: Context| {
        ctx.on_complete(|tx| Ok(tx.open_table(ROWS)?.insert(1, 1).map(drop)?));
        runs.fetch_add(1, Ordering::SeqCst);
        let result = Bytes::from(vec![7; wanted.load(Ordering::SeqCst)]);
        async move { Ok(Outcome::done_with(result)) }
    };
    pond.worker("q").retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(3)).handle(handler).start().unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    for _ in 0..10 {
        drained(&pond).await;
        clock.advance(SECOND);
    }
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.attempts, job.result, ran.load(Ordering::SeqCst)), (State::Dead, 3, None, 3));
    assert!(job.errors.iter().all(|error| error.kind == FailureKind::OutputTooLarge));
    let message = &job.errors[0].message;
    assert!(["1048577", "1048576", "result_bytes_max"].iter().all(|part| message.contains(part)), "{message}");
    assert!(pond.begin_read().unwrap().open_table(ROWS).is_err(), "it must write nothing");

    len.store(MIB, Ordering::SeqCst);
    assert_eq!(pond.dead_letters().redrive_all(&JobFilter::new(), Default::default()).await.unwrap(), 1);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.result.map(|result| result.len())), (State::Completed, Some(MIB)));
    assert_eq!(pond.begin_read().unwrap().open_table(ROWS).unwrap().len().unwrap(), 1);
}

#[tokio::test]
async fn the_limit_of_results_can_be_set_and_holds_for_every_handler() {
    let (_, pond) = memory_with(|builder| builder.result_bytes_max(4));
    let asynchronous = |_: Job<Work>| async { Ok(Bytes::from_static(b"12345")) };
    let blocking = |job: Job<Bytes>| Ok(Outcome::done_with(job.into_inner()));
    let worker = pond.worker("q").retry(Retry::none()).handle(asynchronous);
    worker.handle_blocking_raw("bytes", blocking).start().unwrap();
    let ids = [
        pond.enqueue("q", work(1)).await.unwrap(),
        pond.enqueue("q", NewJob::raw("bytes", "12345")).await.unwrap(),
        pond.enqueue("q", NewJob::raw("bytes", "1234")).await.unwrap(),
    ];
    drained(&pond).await;
    let states = ids.map(|id| pond.job(id).unwrap().state);
    assert_eq!(states, [State::Dead, State::Dead, State::Completed]);

    for (bytes, names) in [(0, "at least 1"), ((16 << 20) + 1, "above 16777216")] {
        let memory = redb::backends::InMemoryBackend::new();
        match Millpond::builder().result_bytes_max(bytes).open_backend(memory) {
            Err(Error::InvalidConfig { field: "result_bytes_max", reason, .. }) => assert!(reason.contains(names)),
            other => panic!("{other:?}"),
        }
    }
}
