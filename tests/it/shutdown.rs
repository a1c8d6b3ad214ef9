//! A shutdown: running jobs can finish, nothing is lost, every caller is answered, and the shutdown ends in time.

use std::sync::mpsc;
use std::time::Duration;

use millpond::{Capacity, Context, Error, Job, Millpond, QueueSettings, State, WhenFull};

use crate::support::*;

#[tokio::test]
async fn a_shutdown_lets_running_jobs_finish_and_keeps_waiting_ones() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    keeper.entered().await;
    let stop = tokio::spawn(pond.shutdown(HOUR));
    while pond.explain(ids[1]).unwrap() != millpond::Explanation::ShuttingDown {
        tokio::task::yield_now().await;
    }
    assert!(!stop.is_finished(), "it waits for the running job");
    keeper.let_go(9);
    stop.await.unwrap().unwrap();
    assert_eq!(keeper.waiting(), [0; 0]);

    let pond = disk.open();
    assert!(matches!(pond.job(ids[0]), Err(Error::NoSuchJob { .. })));
    let info = pond.job(ids[1]).unwrap();
    assert_eq!((info.state, info.attempts), (State::Pending, 0));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn handlers_are_told_to_stop_when_the_deadline_has_passed() {
    let (_, pond) = memory();
    pond.worker("q")
        .handle(|_: Job<Work>, ctx: Context| async move {
            ctx.cancelled().await;
            Ok(())
        })
        .start()
        .unwrap();
    let mut events = pond.events();
    pond.enqueue("q", work(1)).await.unwrap();
    settled(&pond).await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    assert!(heard(&mut events).iter().any(|event| matches!(event, millpond::Event::Completed { .. })));
}

#[tokio::test]
async fn a_job_that_does_not_stop_is_given_back_and_its_attempt_does_not_count() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 5);
    let ids = pond.enqueue_many("q", [work(1), member("g", 2), member("g", 3)]).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(2).await, [1, 2]);
    starts_written(&pond, &disk.clock).await;
    pond.shutdown(Duration::ZERO).await.unwrap();

    let pond = disk.open();
    for id in ids {
        let info = pond.job(id).unwrap();
        assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
    }
    assert_sound(&pond).await;
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    let mut all = ran.all();
    assert!(all.iter().position(|n| *n == 2) < all.iter().position(|n| *n == 3));
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
}

#[tokio::test]
async fn a_blocking_handler_that_never_returns_does_not_delay_a_shutdown() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (entered, at) = mpsc::channel();
    let (go, told) = mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    pond.worker("q")
        .handle_blocking(move |_: Job<Work>| {
            entered.send(()).unwrap();
            let _ = told.lock().unwrap().recv();
            Ok(())
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    at.recv().unwrap();
    pond.shutdown(Duration::ZERO).await.unwrap();
    let reopened = disk.open();
    let info = reopened.job(id).unwrap();
    assert_eq!((info.state, info.attempts), (State::Pending, 0));
    // The answer that the handler gives now is ignored.
    go.send(()).unwrap();
    let ran = record(&reopened, "q", 1);
    drained(&reopened).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_second_shutdown_waits_for_the_first() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    keeper.entered().await;
    let calls = [HOUR, Duration::ZERO, HOUR].map(|deadline| tokio::spawn(pond.shutdown(deadline)));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(calls.iter().all(|call| !call.is_finished()));
    keeper.let_go(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    pond.shutdown(HOUR).await.unwrap();
}

#[tokio::test]
async fn after_a_shutdown_every_call_is_refused_as_closed() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    let (queue, dead) = (pond.queue("q").unwrap(), pond.dead_letters());
    close(pond.clone()).await;
    let closed = |answer: Result<(), Error>| assert!(matches!(answer, Err(Error::Closed)), "{answer:?}");
    closed(pond.enqueue("q", work(1)).await.map(|_| ()));
    closed(pond.enqueue_many("q", [work(1)]).await.map(|_| ()));
    closed(queue.enqueue(work(1)).await.map(|_| ()));
    closed(pond.transaction(|_| Ok(())).await);
    closed(pond.begin_write().map(|_| ()));
    closed(pond.begin_read().map(|_| ()));
    closed(pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().map(|_| ()));
    closed(pond.cancel(id, "x").await.map(|_| ()));
    closed(pond.run_now(id).await);
    closed(queue.pause().await.map(|_| ()));
    closed(queue.configure(QueueSettings::default()).await);
    closed(queue.rate().take(1).await);
    closed(dead.redrive(id).await.map(|_| ()));
    closed(dead.list(&millpond::JobFilter::new(), None, 1).map(|_| ()));
    closed(pond.job(id).map(|_| ()));
    closed(pond.explain(id).map(|_| ()));
    closed(pond.verify().await.map(|_| ()));
    assert_eq!(queue.counts().pending, 1);
    pond.testing().idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_every_caller_and_every_acknowledged_job_exists() {
    let disk = OnDisk::new();
    let pond = disk.open();
    record(&pond, "other", 4);
    pond.queue("bounded")
        .unwrap()
        .configure(QueueSettings::default().capacity(Capacity::jobs(5)).when_full(WhenFull::Wait))
        .await
        .unwrap();
    let producers: Vec<_> = (0..8u64)
        .map(|p| {
            let pond = pond.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let answer = match p % 4 {
                        0 => pond.enqueue("bounded", work(p)).await,
                        1 => pond.transaction(move |tx| Ok(tx.enqueue("q", work(p))?)).await,
                        2 => {
                            let _ = pond.enqueue("other", work(p)).await;
                            pond.enqueue("q", work(p)).await
                        }
                        _ => pond.enqueue("q", member("g", p)).await,
                    };
                    match answer {
                        Ok(id) => acknowledged.push(id),
                        Err(Error::Closed) => return acknowledged,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    let mut events = pond.events();
    for _ in 0..200 {
        events.next().await.unwrap().unwrap();
    }
    pond.shutdown(HOUR).await.unwrap();
    let mut acknowledged = Vec::new();
    for producer in producers {
        acknowledged.extend(producer.await.unwrap());
    }
    drop(pond);
    let pond = disk.open();
    for id in &acknowledged {
        assert_eq!(state(&pond, *id), State::Pending);
    }
    let all: Vec<_> = ["q", "bounded"].iter().map(|queue| pond.queue(queue).unwrap().counts().pending).collect();
    assert!(all.iter().sum::<u64>() >= acknowledged.len() as u64);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_queue_and_loses_nothing() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (worker, mut keeper) = gated(&pond, "q", 1);
    let ids = pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    keeper.entered().await;
    let other = pond.clone();
    drop(pond);
    assert_eq!(other.job(ids[0]).unwrap().state, State::Running, "a clone keeps it alive");
    drop(other);
    drop(worker);
    let pond = disk.open();
    for id in ids {
        let info = pond.job(id).unwrap();
        assert_eq!((info.state, info.attempts), (State::Pending, 0));
    }
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_drop_after_a_shutdown_is_safe_and_so_is_dropping_at_once() {
    let disk = OnDisk::new();
    let pond = disk.open();
    close(pond.clone()).await;
    drop(pond);
    for _ in 0..5 {
        drop(disk.open());
    }
    assert_eq!(disk.open().enqueue("q", work(1)).await.unwrap().id.get(), 1);
}

#[tokio::test]
async fn a_handler_can_shut_the_queue_down() {
    let (_, pond) = memory();
    let inner = pond.clone();
    let (done, mut told) = tokio::sync::mpsc::unbounded_channel();
    pond.worker("q")
        .handle(move |_: Job<Work>| {
            let (pond, done) = (inner.clone(), done.clone());
            async move {
                tokio::spawn(async move {
                    pond.shutdown(HOUR).await.unwrap();
                    done.send(()).unwrap();
                });
                Ok(())
            }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    told.recv().await.unwrap();
    assert!(matches!(pond.enqueue("q", work(2)).await, Err(Error::Closed)));
    let _ = id;
}

#[tokio::test]
async fn a_clean_shutdown_leaves_no_suspects() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    pond.enqueue_many("q", [work(1), work(2)]).await.unwrap();
    keeper.next(2).await;
    starts_written(&pond, &disk.clock).await;
    pond.shutdown(Duration::ZERO).await.unwrap();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    // Both start at once, so neither is on probation.
    assert_eq!(keeper.next(2).await, [1, 2]);
    keeper.let_go(2);
    drained(&pond).await;
}

#[test]
fn a_shutdown_works_without_a_runtime_of_the_caller() {
    let disk = OnDisk::new();
    let pond: Millpond = disk.open();
    let (sender, receiver) = mpsc::channel();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            sender.send(job.n).unwrap();
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).wait().unwrap();
    assert_eq!(receiver.recv().unwrap(), 1);
    pond.shutdown(HOUR).wait().unwrap();
    assert!(matches!(pond.enqueue("q", work(2)).wait(), Err(Error::Closed)));
}

#[tokio::test(flavor = "current_thread")]
async fn a_thread_can_block_on_a_shutdown_even_if_it_is_the_runtimes_only_thread() {
    let (_, pond) = memory();
    let id = pond.enqueue("q", work(1)).await.unwrap();
    pond.shutdown(Duration::ZERO).wait().unwrap();
    assert!(matches!(pond.job(id), Err(Error::Closed)));
}
