//! Workers that start the newest of equally urgent jobs first.

use std::time::Duration;

use millpond::{Aging, Error, Job, Millpond, Priority, Retry, WorkerBuilder};

use crate::support::*;

fn newest_first(pond: &Millpond) -> WorkerBuilder {
    pond.worker("q").concurrency(1).no_timeout().newest_first()
}

/// A worker with one slot that records which jobs it runs, in their order.
fn starts(pond: &Millpond) -> Log<u64> {
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async { Ok(()) }
    };
    newest_first(pond).handle(handler).start().unwrap();
    log
}

#[tokio::test]
async fn the_newest_of_equally_urgent_jobs_starts_first() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (1..=3).map(work)).await.unwrap();
    pond.enqueue("q", work(4).priority(Priority::FIRST)).await.unwrap();
    pond.enqueue("q", work(5).priority(Priority::LAST)).await.unwrap();
    pond.enqueue("q", work(6).priority(Priority::FIRST)).await.unwrap();
    pond.enqueue("q", work(7).priority(Priority::LAST)).await.unwrap();
    let ran = starts(&pond);
    drained(&pond).await;
    assert_eq!(ran.all(), [6, 4, 3, 2, 1, 7, 5]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_backlog_that_does_not_fit_into_memory_starts_newest_first() {
    // Some of it is read by pages, and some arrives while the worker runs.
    let (_, pond) = memory();
    const BACKLOG: u64 = 12_000;
    for first in [1, BACKLOG / 2 + 1] {
        pond.enqueue_many("q", (first..first + BACKLOG / 2).map(work)).await.unwrap();
    }
    let (gate, mut keeper) = gate();
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        let gate = gate.clone();
        seen.push(job.n);
        async move {
            if job.n == BACKLOG {
                gate.pass(job.n).await;
            }
            Ok(())
        }
    };
    newest_first(&pond).handle(handler).start().unwrap();
    assert_eq!(keeper.entered().await, BACKLOG);
    pond.enqueue_many("q", (BACKLOG + 1..=BACKLOG + 10).map(work)).await.unwrap();
    keeper.let_go(1);
    drained(&pond).await;
    let newer = (BACKLOG + 1..=BACKLOG + 10).rev();
    let expected: Vec<u64> = [BACKLOG].into_iter().chain(newer).chain((1..BACKLOG).rev()).collect();
    assert_eq!(log.all(), expected);
}

#[tokio::test]
async fn the_jobs_of_a_group_keep_their_order() {
    let (_, pond) = memory();
    for (group, n) in [("a", 1), ("b", 2), ("a", 3), ("b", 4), ("c", 5)] {
        pond.enqueue("q", member(group, n)).await.unwrap();
    }
    let ran = starts(&pond);
    drained(&pond).await;
    let ran = ran.all();
    assert_eq!(ran[..2], [5, 2], "the groups that became ready last go first");
    let of = |jobs: [u64; 2]| ran.iter().copied().filter(|n| jobs.contains(n)).collect::<Vec<_>>();
    assert_eq!((of([1, 3]), of([2, 4])), (vec![1, 3], vec![2, 4]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_job_that_is_tried_again_is_as_old_as_before() {
    let (clock, pond) = memory();
    let minute = Duration::from_secs(60);
    pond.enqueue_many("q", [work(1).delay(minute), work(2)]).await.unwrap();
    let log = Log::new();
    let seen = log.clone();
    let handler = move |job: Job<Work>| {
        seen.push(job.n);
        async move { if job.n == 2 && job.attempt() == 1 { Err("again".into()) } else { Ok(()) } }
    };
    newest_first(&pond).retry(Retry::fixed(minute).jitter(0.0)).handle(handler).start().unwrap();
    settled(&pond).await;
    pond.enqueue("q", work(3).delay(minute)).await.unwrap();
    clock.advance(minute);
    drained(&pond).await;
    assert_eq!(log.all(), [2, 3, 2, 1]);
}

#[tokio::test]
async fn another_worker_of_the_queue_starts_the_oldest_first() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", (1..=4).map(work)).await.unwrap();
    let (gate, mut keeper) = gate();
    let handler = move |job: Job<Work>| {
        let gate = gate.clone();
        async move {
            gate.pass(job.n).await;
            Ok(())
        }
    };
    let worker = newest_first(&pond).handle(handler).start().unwrap();
    assert_eq!(keeper.entered().await, 4);
    let stopped = worker.stop();
    keeper.let_go(1);
    stopped.await.unwrap();
    close(pond).await;

    let pond = disk.open();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2, 3], "nothing of it is in the file");
}

#[tokio::test]
async fn it_is_refused_beside_ageing_and_for_a_stream() {
    let (_, pond) = memory();
    let handler = |_: Job<Work>| async { Ok(()) };
    let aging = Aging::every(Duration::from_secs(60));
    let refused = newest_first(&pond).aging(aging).handle(handler).start();
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "newest_first", .. })), "{refused:?}");
    pond.stream("s").unwrap().append(work(1)).await.unwrap();
    let consumer = pond.consumer("s", "c").worker(|worker| worker.newest_first()).handle(handler);
    let refused = consumer.start().await;
    assert!(matches!(refused, Err(Error::InvalidConfig { field: "newest_first", .. })), "{refused:?}");
}
