//! A queue holds jobs up to its capacity, and then refuses calls or makes callers wait.

use millpond::{Capacity, Commit, Enqueued, Error, JobId, Millpond, QueueSettings, WhenFull};

use crate::support::*;

async fn bounded(pond: &Millpond, queue: &str, capacity: Capacity, when_full: WhenFull) {
    let settings = QueueSettings::default().capacity(capacity).when_full(when_full);
    pond.queue(queue).unwrap().configure(settings).await.unwrap();
}

/// A call that has been submitted and waits for room.
async fn waiting(pond: &Millpond, call: Commit<Enqueued>) -> tokio::task::JoinHandle<Result<Enqueued, Error>> {
    let call = tokio::spawn(call);
    tokio::task::yield_now().await;
    settled(pond).await;
    call
}

#[tokio::test]
async fn a_full_queue_refuses_jobs_until_there_is_room() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(2), WhenFull::Refuse).await;
    let first = pond.enqueue("q", work(1)).await.unwrap();
    pond.enqueue("q", work(2).delay(HOUR)).await.unwrap();
    match pond.enqueue("q", work(3)).await {
        Err(Error::QueueFull { queue, jobs, .. }) => assert_eq!((queue.as_str(), jobs), ("q", 2)),
        other => panic!("{other:?}"),
    }
    pond.enqueue("other", work(1)).await.unwrap();
    pond.cancel(first, "x").await.unwrap();
    pond.enqueue("q", work(3)).await.unwrap();
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_as_a_whole() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(3), WhenFull::Refuse).await;
    pond.enqueue("q", work(0)).await.unwrap();
    assert!(matches!(pond.enqueue_many("q", (1..4).map(work)).await, Err(Error::QueueFull { .. })));
    let both = pond.enqueue_all([("other", work(1)), ("q", work(2)), ("q", work(3)), ("q", work(4))]).await;
    assert!(matches!(both, Err(Error::QueueFull { .. })));
    assert_eq!(pond.queue("other").unwrap().counts().enqueued_total, 0);
    pond.enqueue_many("q", (1..3).map(work)).await.unwrap();
}

#[tokio::test]
async fn the_bytes_of_a_queue_are_bounded_too() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::UNLIMITED.bytes(1_000), WhenFull::Refuse).await;
    pond.enqueue("q", millpond::NewJob::raw("k", vec![0; 600])).await.unwrap();
    assert!(matches!(pond.enqueue("q", millpond::NewJob::raw("k", vec![0; 600])).await, Err(Error::QueueFull { .. })));
    pond.enqueue("q", millpond::NewJob::raw("k", vec![0; 200])).await.unwrap();
}

#[tokio::test]
async fn a_running_job_counts_towards_the_capacity_until_it_has_ended() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Refuse).await;
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    assert!(matches!(pond.enqueue("q", work(2)).await, Err(Error::QueueFull { .. })));
    keeper.let_go(2);
    drained(&pond).await;
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
}

/// A queue with room for one job, which is running. Other callers wait.
async fn full_with_a_running_job() -> (Millpond, Keeper) {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Wait).await;
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    (pond, keeper)
}

#[tokio::test]
async fn a_caller_that_waits_for_room_proceeds_when_a_job_ends() {
    let (pond, mut keeper) = full_with_a_running_job().await;
    let second = waiting(&pond, pond.enqueue("q", work(2))).await;
    assert!(!second.is_finished());
    keeper.let_go(1);
    assert_eq!(second.await.unwrap().unwrap(), JobId::new(2));
    assert_eq!(keeper.entered().await, 2);
    keeper.let_go(1);
    drained(&pond).await;
}

#[tokio::test]
async fn a_caller_that_waits_for_room_proceeds_when_a_job_is_cancelled() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Wait).await;
    let first = pond.enqueue("q", work(1)).await.unwrap();
    let second = waiting(&pond, pond.enqueue("q", work(2))).await;
    assert!(!second.is_finished());
    pond.cancel(first, "x").await.unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_caller_that_waits_for_room_proceeds_when_the_capacity_grows() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Wait).await;
    pond.enqueue("q", work(1)).await.unwrap();
    let second = waiting(&pond, pond.enqueue("q", work(2))).await;
    let third = waiting(&pond, pond.enqueue("q", work(3))).await;
    bounded(&pond, "q", Capacity::jobs(2), WhenFull::Wait).await;
    second.await.unwrap().unwrap();
    assert!(!third.is_finished());
    bounded(&pond, "q", Capacity::UNLIMITED, WhenFull::Wait).await;
    third.await.unwrap().unwrap();
}

#[tokio::test]
async fn callers_that_wait_for_room_proceed_in_the_order_of_their_calls() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(2), WhenFull::Wait).await;
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", [work(0), work(1)]).await.unwrap();
    let mut calls = Vec::new();
    for n in 2..10 {
        calls.push(waiting(&pond, pond.enqueue("q", work(n))).await);
    }
    keeper.let_go(10);
    let mut ids = Vec::new();
    for call in calls {
        ids.push(call.await.unwrap().unwrap().id.get());
    }
    assert_eq!(ids, (3..=10).collect::<Vec<_>>());
    drained(&pond).await;
    assert_eq!(keeper.waiting(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_caller_that_gives_up_no_longer_waits_for_room() {
    let (pond, mut keeper) = full_with_a_running_job().await;
    let second = waiting(&pond, pond.enqueue("q", work(2))).await;
    let third = waiting(&pond, pond.enqueue("q", work(3))).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    keeper.let_go(2);
    third.await.unwrap().unwrap();
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [3]);
}

#[tokio::test]
async fn a_full_queue_does_not_block_other_queues() {
    let (_, pond) = memory();
    bounded(&pond, "full", Capacity::jobs(1), WhenFull::Wait).await;
    let ran = record(&pond, "free", 1);
    pond.enqueue("full", work(1)).await.unwrap();
    let stuck = waiting(&pond, pond.enqueue("full", work(2))).await;
    pond.enqueue("free", work(3)).await.unwrap();
    pond.transaction(|tx| Ok(tx.enqueue("free", work(4)).map(|_| ())?)).await.unwrap();
    drained(&pond).await;
    assert_eq!((ran.all(), stuck.is_finished()), (vec![3, 4], false));
    stuck.abort();
}

#[tokio::test]
async fn a_call_that_waits_for_a_full_queue_does_not_block_the_other_queues_that_it_names() {
    let (_, pond) = memory();
    bounded(&pond, "full", Capacity::jobs(1), WhenFull::Wait).await;
    pond.enqueue("full", work(1)).await.unwrap();
    let both = tokio::spawn(pond.enqueue_all([("free", work(2)), ("full", work(3))]));
    tokio::task::yield_now().await;
    settled(&pond).await;
    let through = waiting(&pond, pond.enqueue("free", work(4))).await;
    // The free queue has room.
    through.await.unwrap().unwrap();
    both.abort();
}

#[tokio::test]
async fn a_transaction_into_a_full_queue_is_refused_whatever_the_setting() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Wait).await;
    pond.enqueue("q", work(1)).await.unwrap();
    let refused = pond.transaction(|tx| Ok(tx.enqueue("q", work(2))?)).await;
    let error = refused.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(matches!(source.downcast_ref(), Some(Error::QueueFull { .. })), "{error:?}");
    let mut guard = pond.begin_write().unwrap();
    guard.enqueue("q", work(2)).unwrap();
    assert!(matches!(guard.commit(), Err(Error::QueueFull { .. })));
}

#[tokio::test]
async fn a_call_that_could_never_fit_is_refused_without_waiting() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(2), WhenFull::Wait).await;
    assert!(matches!(pond.enqueue_many("q", (0..3).map(work)).await, Err(Error::QueueFull { .. })));
}

#[tokio::test]
async fn callers_that_wait_for_room_at_a_shutdown_get_an_error() {
    let (_, pond) = memory();
    bounded(&pond, "q", Capacity::jobs(1), WhenFull::Wait).await;
    pond.enqueue("q", work(1)).await.unwrap();
    let second = waiting(&pond, pond.enqueue("q", work(2))).await;
    close(pond).await;
    assert!(matches!(second.await.unwrap(), Err(Error::Closed)));
}

#[tokio::test]
async fn callers_that_wait_for_different_queues_do_not_delay_each_other() {
    let (_, pond) = memory();
    let (mut calls, mut keepers) = (Vec::new(), Vec::new());
    for queue in ["a", "b", "c"] {
        bounded(&pond, queue, Capacity::jobs(1), WhenFull::Wait).await;
        keepers.push(gated(&pond, queue, 1).1);
        pond.enqueue(queue, work(0)).await.unwrap();
        for n in 1..4 {
            calls.push(waiting(&pond, pond.enqueue(queue, work(n))).await);
        }
    }
    for keeper in keepers.iter().rev() {
        keeper.let_go(4);
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    drained(&pond).await;
    for keeper in &mut keepers {
        assert_eq!(keeper.waiting(), [0, 1, 2, 3]);
    }
}

#[tokio::test]
async fn a_call_that_waits_for_two_full_queues_gets_both() {
    let (_, pond) = memory();
    let mut full = Vec::new();
    for queue in ["a", "b"] {
        bounded(&pond, queue, Capacity::jobs(1), WhenFull::Wait).await;
        full.push(pond.enqueue(queue, work(0)).await.unwrap());
    }
    let both = tokio::spawn(pond.enqueue_all([("a", work(1)), ("b", work(2))]));
    tokio::task::yield_now().await;
    settled(&pond).await;
    pond.cancel(full[0], "x").await.unwrap();
    settled(&pond).await;
    assert!(!both.is_finished());
    pond.cancel(full[1], "x").await.unwrap();
    assert_eq!(both.await.unwrap().unwrap().len(), 2);
    assert_sound(&pond).await;
}

/// Callers that wait for room hold what they want to enqueue: beyond 64 MiB of it, further callers are refused.
#[tokio::test]
async fn calls_that_wait_for_room_are_bounded_by_their_bytes() {
    let (_, pond) = memory();
    for queue in ["a", "b"] {
        bounded(&pond, queue, Capacity::jobs(3), WhenFull::Wait).await;
    }
    let large = |queue: &str| {
        let megabytes = (0..2).map(|_| millpond::NewJob::raw("k", vec![7; 1 << 20]));
        pond.enqueue_many(queue, megabytes.chain([work(0)]))
    };
    let full = [large("a").await.unwrap(), large("b").await.unwrap()];
    // A little more than 2 MiB each: 31 of them fit.
    let mut calls = Vec::new();
    for n in 0..40 {
        let call = tokio::spawn(large(["a", "b"][n % 2]));
        tokio::task::yield_now().await;
        // The next call finds this one waiting.
        settled(&pond).await;
        calls.push(call);
    }
    for refused in calls.split_off(31) {
        assert!(matches!(refused.await.unwrap(), Err(Error::QueueFull { .. })));
    }
    assert!(calls.iter().all(|call| !call.is_finished()));
    // One call for each queue is stored when there is room, and then another caller can wait again.
    for id in full.into_iter().flatten() {
        pond.cancel(id, "x").await.unwrap();
    }
    for let_in in calls.drain(..2) {
        let_in.await.unwrap().unwrap();
    }
    let again = tokio::spawn(large("a"));
    tokio::task::yield_now().await;
    settled(&pond).await;
    assert!(!again.is_finished(), "another caller can wait again");
    close(pond.clone()).await;
    assert!(matches!(again.await.unwrap(), Err(Error::Closed)));
}
