//! The end of a job can be awaited, also of one that has ended before or that is not kept.

use std::future::Future;
use std::pin::pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use millpond::{Capacity, Error, Job, JobId, Keep, Outcome, QueueSettings, Retention, Retry, State};

use crate::support::*;

#[tokio::test]
async fn it_answers_the_state_and_the_result_while_it_waits_and_afterwards() {
    let (_, pond) = memory();
    let (gate, mut keeper) = gate();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            let gate = gate.clone();
            async move {
                gate.pass(job.n).await;
                match job.n {
                    0 => Ok(Outcome::dead_letter("broken")),
                    n => Outcome::done_json(&(n * 2)),
                }
            }
        })
        .start()
        .unwrap();
    for (n, state, result) in [(3, State::Completed, Some(6)), (0, State::Dead, None)] {
        let id = pond.enqueue("q", work(n)).await.unwrap();
        keeper.entered().await;
        let waiting = pond.clone();
        let wait = tokio::spawn(async move { waiting.finished(id).await });
        settled(&pond).await;
        assert!(!wait.is_finished());
        keeper.let_go(1);
        for ended in [wait.await.unwrap().unwrap(), pond.finished(id).await.unwrap()] {
            assert_eq!((ended.id, ended.state), (id.id, state));
            assert_eq!(ended.result_json::<u64>().unwrap(), result);
        }
    }
    let unknown = pond.finished(JobId::new(77)).await;
    assert!(matches!(unknown, Err(Error::NoSuchJob { .. })), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_not_kept_is_answered_and_none_is_missed() {
    let (_, pond) = memory();
    let none = Retention::default().completed(Keep::NOTHING).cancelled(Keep::NOTHING);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(none)).await.unwrap();
    pond.queue("q").unwrap().pause().await.unwrap();
    pond.worker("q").concurrency(8).handle(|job: Job<Work>| async move { Outcome::done_json(&job.n) }).start().unwrap();
    let ids = pond.enqueue_many("q", (0..200).map(work)).await.unwrap();
    let waits: Vec<_> = ids.iter().map(|&id| (id, tokio::spawn(pond.finished(id)))).collect();
    for (at, (id, wait)) in waits.into_iter().enumerate() {
        if at == 0 {
            pond.queue("q").unwrap().resume().await.unwrap();
        }
        match wait.await.unwrap() {
            Ok(ended) => assert_eq!(ended.result_json::<u64>().unwrap(), Some(at as u64)),
            // It ended before the wait was registered.
            Err(Error::NoSuchJob { id: gone, .. }) => assert_eq!(gone, id.id),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_wait_for_a_plain_job_that_is_not_kept_and_for_a_cancelled_one_is_answered() {
    let (_, pond) = memory();
    let none = Retention::default().completed(Keep::NOTHING).cancelled(Keep::NOTHING);
    pond.queue("q").unwrap().configure(QueueSettings::default().retention(none)).await.unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let ids = pond.enqueue_many("q", [work(1), work(2), work(3)]).await.unwrap();
    keeper.entered().await;
    let waits = ids.iter().map(|&id| tokio::spawn(pond.finished(id))).collect::<Vec<_>>();
    settled(&pond).await;
    tokio::task::yield_now().await;
    settled(&pond).await;
    pond.cancel(ids[1], "x").await.unwrap();
    pond.delete(ids[2]).await.unwrap();
    keeper.let_go(1);
    let mut ends = Vec::new();
    for wait in waits {
        ends.push(wait.await.unwrap());
    }
    assert_eq!(ends[0].as_ref().unwrap().state, State::Completed);
    assert_eq!(ends[1].as_ref().unwrap().state, State::Cancelled);
    assert!(matches!(ends[2], Err(Error::NoSuchJob { .. })));
}

#[tokio::test]
async fn a_wait_ends_with_the_file_and_leaves_nothing_when_it_is_dropped() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let timed_out = tokio::time::timeout(Duration::from_millis(1), pond.finished(id)).await;
    assert!(timed_out.is_err());
    let mut wait = pin!(pond.finished(id));
    while !matches!(wait.as_mut().poll(&mut Task::from_waker(Waker::noop())), Poll::Pending) {}
    settled(&pond).await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    assert!(matches!(wait.await, Err(Error::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_enqueues_and_waits_misses_no_end() {
    let (_, pond) = memory();
    pond.worker("q")
        .concurrency(8)
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move { if job.n.is_multiple_of(2) { Ok(()) } else { Err("odd".into()) } })
        .start()
        .unwrap();
    let waits: Vec<_> = (0..200).map(|n| tokio::spawn(pond.enqueue_and_wait("q", work(n)))).collect();
    for (n, wait) in waits.into_iter().enumerate() {
        // A completed job without a result is not kept: its end can be missed by a wait that begins after the enqueue.
        let job = wait.await.unwrap().unwrap();
        assert_eq!(job.state, if n.is_multiple_of(2) { State::Completed } else { State::Dead });
    }
}

#[tokio::test]
async fn a_caller_that_enqueues_a_duplicate_waits_for_the_job_that_is_there() {
    let (_, pond) = memory();
    let keyed = |n| work(n).unique_key("k");
    let first = pond.enqueue("q", keyed(1)).await.unwrap();
    let wait = tokio::spawn(pond.enqueue_and_wait("q", keyed(2)));
    pond.worker("q").handle(|job: Job<Work>| async move { Outcome::done_json(&job.n) }).start().unwrap();
    let ended = wait.await.unwrap().unwrap();
    assert_eq!((ended.id, ended.result_json::<u64>().unwrap()), (first.id, Some(1)));
    // It has ended by now, and still holds its key.
    let again = pond.enqueue_and_wait("q", keyed(3)).await.unwrap();
    assert_eq!((again.id, again.result_json::<u64>().unwrap()), (first.id, Some(1)));
}

#[tokio::test]
async fn a_job_that_is_not_accepted_is_not_waited_for() {
    let (_, pond) = memory();
    pond.queue("q").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(1))).await.unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert!(matches!(pond.enqueue_and_wait("q", work(2)).await, Err(Error::QueueFull { .. })));
    assert!(matches!(pond.enqueue_and_wait("no name", work(2)).await, Err(Error::InvalidName { .. })));
}
