//! A handler that enqueues into a full queue waits for room only if it cannot be waiting for itself.

use std::sync::Arc;

use millpond::{Capacity, Enqueued, Error, Handled, Job, Millpond, Outcome, QueueSettings, Retry, State, WhenFull};
use tokio::sync::mpsc;

use crate::support::*;

/// A queue that holds this many jobs, and then makes callers wait.
async fn bounded(pond: &Millpond, queue: &str, jobs: u64) {
    let settings = QueueSettings::default().capacity(Capacity::jobs(jobs)).when_full(WhenFull::Wait);
    pond.queue(queue).unwrap().configure(settings).await.unwrap();
}

/// The answers that handlers got: the queue, and the id or that there is no room.
type Answers = Log<(String, Result<(), String>)>;

fn room_or_full_queue(answer: &Result<Enqueued, Error>) -> Result<(), String> {
    match answer {
        Ok(_) => Ok(()),
        Err(Error::QueueFull { queue, .. }) => Err(queue.clone()),
        Err(other) => panic!("{other:?}"),
    }
}

/// A worker whose handlers enqueue a job into `into`, record the answer, and fail for good if there is no room. Job 0
/// only ends at once.
fn forwarding(pond: &Millpond, queue: &str, into: &str, concurrency: usize, answers: &Answers) {
    let (inner, into, log) = (pond.clone(), into.to_owned(), answers.clone());
    let handler = move |job: Job<Work>| {
        let (pond, into, log) = (inner.clone(), into.clone(), log.clone());
        async move {
            if job.n > 0 {
                let answer = pond.enqueue(&into, work(0)).await;
                log.push((job.queue().to_owned(), room_or_full_queue(&answer)));
                answer?;
            }
            Ok(())
        }
    };
    let worker = pond.worker(queue).concurrency(concurrency).no_timeout().retry(Retry::none());
    worker.handle(handler).start().unwrap();
}

fn refused(queue: &str, by: &str) -> (String, Result<(), String>) {
    (queue.to_owned(), Err(by.to_owned()))
}

fn accepted(queue: &str) -> (String, Result<(), String>) {
    (queue.to_owned(), Ok(()))
}

#[tokio::test]
async fn a_handler_does_not_wait_for_room_in_its_own_queue() {
    let (_, pond) = memory();
    bounded(&pond, "q", 2).await;
    let answers = Answers::new();
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    // Neither job ends, and makes room, before both were answered.
    let both_answered = Arc::new(tokio::sync::Barrier::new(2));
    let (inner, log) = (pond.clone(), answers.clone());
    let handler = move |job: Job<Work>| {
        let (pond, log, both_answered) = (inner.clone(), log.clone(), both_answered.clone());
        async move {
            let answer = pond.enqueue("q", work(0)).await;
            log.push((job.queue().to_owned(), room_or_full_queue(&answer)));
            both_answered.wait().await;
            answer?;
            Ok(())
        }
    };
    pond.worker("q").concurrency(2).no_timeout().retry(Retry::none()).handle(handler).start().unwrap();
    assert_eq!(drained(&pond).await.dead, 2);
    assert_eq!(answers.all(), [refused("q", "q"), refused("q", "q")]);
    close(pond).await;
}

#[tokio::test]
async fn no_way_of_enqueueing_makes_a_handler_wait_for_its_own_queue() {
    let (_, pond) = memory();
    bounded(&pond, "q", 4).await;
    let answers = Log::new();
    let (log, inner) = (answers.clone(), pond.clone());
    let (blocking_log, blocking_pond) = (answers.clone(), pond.clone());
    let full = |answer: Result<(), Error>| matches!(answer, Err(Error::QueueFull { queue, .. }) if queue == "q");
    pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    pond.enqueue("q", Packed { text: String::new() }).await.unwrap();
    pond.worker("q")
        .no_timeout()
        .handle(move |job: Job<Work>| {
            let (pond, log) = (inner.clone(), log.clone());
            async move {
                let answer = match job.n {
                    1 => pond.enqueue_many("q", [work(0), work(0)]).await.map(drop),
                    2 => pond.enqueue_all([("other", work(0)), ("q", work(0))]).await.map(drop),
                    // The handler blocks the runtime's thread.
                    _ => pond.queue("q")?.enqueue(work(0)).wait().map(drop),
                };
                log.push((job.n, full(answer)));
                Ok(Outcome::snooze(HOUR))
            }
        })
        .handle_blocking(move |_: Job<Packed>| {
            blocking_log.push((4, full(blocking_pond.enqueue("q", work(0)).wait().map(drop))));
            Ok(Outcome::snooze(HOUR))
        })
        .start()
        .unwrap();
    drained(&pond).await;
    let mut answers = answers.all();
    answers.sort_unstable();
    assert_eq!(answers, (1..=4).map(|n| (n, true)).collect::<Vec<_>>());
    assert_eq!(pond.queue("other").unwrap().counts().enqueued_total, 0);
    close(pond).await;
}

#[tokio::test]
async fn a_handler_waits_for_room_in_another_queue_like_any_caller() {
    let (_, pond) = memory();
    bounded(&pond, "second", 1).await;
    let (_worker, mut keeper) = gated(&pond, "second", 1);
    pond.enqueue("second", work(100)).await.unwrap();
    keeper.entered().await;
    let answers = Answers::new();
    forwarding(&pond, "first", "second", 1, &answers);
    let id = pond.enqueue("first", work(1)).await.unwrap();
    running(&pond, "first", 1).await;
    settled(&pond).await;
    assert_eq!((answers.len(), state(&pond, id)), (0, State::Running), "it waits");
    keeper.let_go(2);
    drained(&pond).await;
    assert_eq!(answers.all(), [accepted("first")]);
    close(pond).await;
}

/// Queues `names`, each full, whose handlers enqueue into the next one, and those of the last one into the first. One
/// job of each runs after another, from the first queue to the last one.
async fn in_a_circle(names: &[&str]) {
    let (_, pond) = memory();
    let answers = Answers::new();
    for name in names {
        bounded(&pond, name, 1).await;
        pond.enqueue(name, work(1)).await.unwrap();
    }
    for (at, name) in names.iter().enumerate() {
        forwarding(&pond, name, names[(at + 1) % names.len()], 1, &answers);
        if at + 1 < names.len() {
            running(&pond, name, 1).await;
            settled(&pond).await;
            assert_eq!(answers.len(), 0, "{name} waits");
        }
    }
    let drained = drained(&pond).await;
    let last = names[names.len() - 1];
    let mut expected = vec![refused(last, names[0])];
    // A handler fails, which makes room for the queue before it, and so on.
    expected.extend(names[..names.len() - 1].iter().rev().map(|name| accepted(name)));
    assert_eq!(answers.all(), expected);
    assert_eq!((drained.dead, drained.failed), (1, 1));
    close(pond).await;
}

#[tokio::test]
async fn handlers_of_two_queues_do_not_wait_for_each_other() {
    in_a_circle(&["a", "b"]).await;
}

#[tokio::test]
async fn handlers_of_several_queues_do_not_wait_in_a_circle() {
    in_a_circle(&["a", "b", "c", "d"]).await;
}

#[tokio::test]
async fn handlers_that_wait_leave_half_of_the_slots_of_the_process_to_others() {
    let (_, pond) = memory_with(|builder| builder.max_running(4));
    bounded(&pond, "second", 1).await;
    pond.enqueue("second", work(0)).await.unwrap();
    let answers = Answers::new();
    forwarding(&pond, "first", "second", 10, &answers);
    pond.enqueue_many("first", (1..=6).map(work)).await.unwrap();
    running(&pond, "first", 2).await;
    settled(&pond).await;
    assert_eq!(answers.all(), vec![refused("first", "second"); 4], "two wait, and the others are refused");
    // There are slots for the jobs that make room.
    forwarding(&pond, "second", "nowhere", 1, &answers);
    drained(&pond).await;
    assert_eq!(answers.all()[4..], [accepted("first"), accepted("first")]);
    assert_eq!(pond.queue("second").unwrap().counts().completed_total, 3);
    close(pond).await;
}

#[tokio::test]
async fn blocking_handlers_that_wait_leave_half_of_the_threads_to_others() {
    let (_, pond) = memory_with(|builder| builder.blocking_threads(3));
    bounded(&pond, "second", 1).await;
    pond.enqueue("second", Packed { text: String::new() }).await.unwrap();
    let (sender, mut answers) = mpsc::unbounded_channel();
    let inner = pond.clone();
    pond.worker("first")
        .no_timeout()
        .retry(Retry::none())
        .handle_blocking(move |_: Job<Work>| -> Handled {
            let answer = inner.enqueue("second", Packed { text: String::new() }).wait();
            sender.send(room_or_full_queue(&answer)).unwrap();
            answer?;
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue_many("first", (1..=3).map(work)).await.unwrap();
    // One of three threads is allowed to wait.
    for _ in 0..2 {
        assert_eq!(answers.recv().await, Some(Err("second".into())));
    }
    settled(&pond).await;
    assert!(answers.try_recv().is_err());
    pond.worker("second").handle_blocking(|_: Job<Packed>| Ok(())).start().unwrap();
    assert_eq!(answers.recv().await, Some(Ok(())));
    drained(&pond).await;
    close(pond).await;
}

#[tokio::test]
async fn a_handler_of_another_file_does_not_wait_for_room() {
    let ((_, first), (_, second)) = (memory(), memory());
    bounded(&second, "q", 1).await;
    second.enqueue("q", work(0)).await.unwrap();
    let answers = Log::new();
    let (log, inner) = (answers.clone(), second.clone());
    // The same queue number, in another file.
    first
        .worker("p")
        .no_timeout()
        .retry(Retry::none())
        .handle(move |_: Job<Work>| {
            let (log, pond) = (log.clone(), inner.clone());
            async move {
                log.push(room_or_full_queue(&pond.enqueue("q", work(1)).await));
                Ok(())
            }
        })
        .start()
        .unwrap();
    first.enqueue("p", work(1)).await.unwrap();
    drained(&first).await;
    assert_eq!(answers.all(), [Err("q".to_owned())]);
}

#[tokio::test]
async fn callers_outside_of_handlers_wait_even_on_a_thread_that_has_run_handlers() {
    let (_, pond) = memory();
    bounded(&pond, "q", 1).await;
    let answers = Answers::new();
    forwarding(&pond, "q", "q", 1, &answers);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(answers.all(), [refused("q", "q")]);
    let filled = pond.enqueue("q", work(0).delay(HOUR)).await.unwrap();
    let waiting = tokio::spawn(pond.enqueue("q", work(0)));
    tokio::task::yield_now().await;
    settled(&pond).await;
    assert!(!waiting.is_finished());
    pond.cancel(filled, "x").await.unwrap();
    waiting.await.unwrap().unwrap();
    drained(&pond).await;
}

#[tokio::test]
async fn a_task_that_a_handler_spawned_waits_like_any_caller() {
    let (_, pond) = memory();
    bounded(&pond, "q", 1).await;
    let (sender, mut spawned) = mpsc::unbounded_channel();
    let inner = pond.clone();
    pond.worker("q")
        .retry(Retry::none())
        .handle(move |job: Job<Work>| {
            if job.n > 0 {
                sender.send(tokio::spawn(inner.enqueue("q", work(0)))).unwrap();
            }
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    // The handler does not wait for the task, so the task is allowed to wait for the handler.
    spawned.recv().await.unwrap().await.unwrap().unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 2);
}
