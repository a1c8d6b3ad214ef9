//! A lone caller that blocks for its commit makes the commit itself; for all other callers the writer's thread makes
//! it.

use std::thread;
use std::time::Duration;

use millpond::Error;

use crate::support::*;

/// Writes something and returns the thread that it runs on.
fn where_it_runs(tx: &millpond::Transaction<'_>) -> Result<thread::Thread, millpond::BoxError> {
    tx.enqueue("q", work(1))?;
    Ok(thread::current())
}

fn is_the_writer(thread: &thread::Thread) -> bool {
    thread.name() == Some("millpond-writer")
}

#[test]
fn a_lone_blocking_caller_commits_on_its_own_thread() {
    let (_, pond) = memory();
    for _ in 0..3 {
        let ran_on = pond.transaction(where_it_runs).wait().unwrap();
        assert_eq!(ran_on.id(), thread::current().id());
    }
    assert_eq!(pond.queue("q").unwrap().counts().pending, 3);
}

#[tokio::test]
async fn an_awaiting_caller_does_not_commit_on_its_own_thread() {
    let (_, pond) = memory();
    assert!(is_the_writer(&pond.transaction(where_it_runs).await.unwrap()));
}

#[test]
fn with_a_linger_no_caller_commits_on_its_own_thread() {
    let (_, pond) = memory_with(|builder| builder.linger(Duration::from_micros(1)));
    assert!(is_the_writer(&pond.transaction(where_it_runs).wait().unwrap()));
}

#[test]
fn a_panic_in_a_lone_callers_closure_is_its_error_and_the_next_commit_succeeds() {
    let (_, pond) = memory();
    let failed = pond.transaction(|_| -> Result<(), _> { panic!("on purpose") }).wait();
    assert!(matches!(failed, Err(Error::Aborted { .. })), "{failed:?}");
    assert_eq!(pond.transaction(where_it_runs).wait().unwrap().id(), thread::current().id());
}

#[test]
fn a_job_that_a_lone_caller_makes_ready_is_started() {
    let (_, pond) = memory();
    let (ran, runs) = std::sync::mpsc::channel();
    let handler = move |job: millpond::Job<bytes::Bytes>| {
        let _ = ran.send(job.id());
        async { Ok(()) }
    };
    let _worker = pond.worker("q").handle_raw("work", handler).start().unwrap();
    let id = pond.enqueue("q", millpond::NewJob::raw("work", vec![1])).wait().unwrap();
    assert_eq!(runs.recv().unwrap(), id);
}

/// The runtime gives a task a budget, and a task that has used it up is not woken before it returns to the runtime.
#[tokio::test]
async fn a_task_can_block_for_any_number_of_commits() {
    let (_, pond) = memory();
    for n in 0..1_000 {
        pond.enqueue("q", work(n)).wait().unwrap();
        pond.identity().wait().unwrap();
    }
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1_000);
}
