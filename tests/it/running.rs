//! Which handler runs, how many run at a time, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use millpond::{CancelOutcome, Context, Data, Error, Handled, Job, NewJob, Outcome, Priority, State};

use crate::support::*;

#[tokio::test]
async fn an_async_handler_gets_its_job() {
    let (clock, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            log.push((job.id(), job.attempt(), job.max_attempts(), job.queue().to_owned(), job.kind().to_owned()));
            log.push((
                job.id(),
                job.n as u32,
                0,
                job.group().unwrap_or("").to_owned(),
                format!("{:?}", job.priority()),
            ));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", member("g", 7).priority(Priority::FIRST).max_attempts(9)).await.unwrap();
    drained(&pond).await;
    assert_eq!(
        seen.all(),
        [(id.id, 1, 9, "q".into(), "work".into()), (id.id, 7, 0, "g".into(), format!("{:?}", Priority::FIRST))]
    );
    let _ = clock;
}

#[tokio::test]
async fn a_blocking_handler_does_not_run_on_the_async_runtime() {
    let (_, pond) = memory();
    let names = Log::new();
    let log = names.clone();
    pond.worker("q")
        .handle_blocking(move |_: Job<Work>| {
            log.push(std::thread::current().name().unwrap_or("").to_owned());
            assert!(tokio::runtime::Handle::try_current().is_err());
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
    assert_eq!(names.all(), ["millpond-blocking"]);
}

struct Greeting(&'static str);
struct Total(AtomicUsize);

async fn all_of_it(job: Job<Work>, greeting: Data<Greeting>, ctx: Context, total: Data<Total>) -> Handled<Outcome> {
    total.0.fetch_add(job.n as usize, Ordering::SeqCst);
    assert_eq!(ctx.data::<Greeting>().unwrap().0, greeting.0);
    assert!(ctx.data::<String>().is_none());
    Ok(Outcome::done_with(greeting.0))
}

#[tokio::test]
async fn handlers_take_their_context_and_data_in_any_order() {
    let (_, pond) = memory();
    pond.worker("q")
        .data(Greeting("replaced"))
        .data(Greeting("hello"))
        .data(Total(AtomicUsize::new(0)))
        .handle(all_of_it)
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(5)).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"hello"[..]));
}

#[tokio::test]
async fn a_worker_without_the_data_its_handler_takes_is_refused() {
    let (_, pond) = memory();
    let refused = pond.worker("q").data(Greeting("hello")).handle(all_of_it).start();
    match refused {
        Err(Error::MissingData { kind, data, .. }) => {
            assert_eq!(kind, "work");
            assert!(data.ends_with("Total"), "{data}");
        }
        other => panic!("{other:?}"),
    }
    record(&pond, "q", 1);
}

#[tokio::test]
async fn bytes_that_a_handler_returns_are_the_result() {
    let (_, pond) = memory();
    pond.worker("q").handle(|job: Job<Work>| async move { Ok(Bytes::from(job.n.to_string())) }).start().unwrap();
    let id = pond.enqueue("q", work(5)).await.unwrap();
    drained(&pond).await;
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.result.as_deref()), (State::Completed, Some(&b"5"[..])));
}

#[tokio::test]
async fn never_more_jobs_run_than_the_worker_has_slots() {
    let (_, pond) = memory();
    let (worker, mut keeper) = gated(&pond, "q", 3);
    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(3).await, [0, 1, 2]);
    assert_eq!((worker.running(), pond.queue("q").unwrap().counts().running), (3, 3));
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 3);
    settled(&pond).await;
    assert_eq!(keeper.waiting(), [0; 0]);
    keeper.let_go(9);
    drained(&pond).await;
}

#[tokio::test]
async fn added_slots_are_used_at_once_and_removed_slots_as_running_jobs_finish() {
    let (_, pond) = memory();
    let (worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", (0..10).map(work)).await.unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(1).await, [0]);
    worker.set_concurrency(4).unwrap();
    settled(&pond).await;
    assert_eq!(keeper.next(3).await, [1, 2, 3]);
    worker.set_concurrency(2).unwrap();
    keeper.let_go(2);
    crate::support::running(&pond, "q", 2).await;
    assert_eq!((keeper.waiting(), worker.running()), (Vec::<u64>::new(), 2));
    keeper.let_go(1);
    assert_eq!(keeper.entered().await, 4);
    assert!(matches!(worker.set_concurrency(0), Err(Error::InvalidConfig { field: "concurrency", .. })));
    keeper.let_go(7);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 10);
}

#[tokio::test]
async fn the_process_limit_holds_over_all_workers_and_can_be_changed() {
    let (_, pond) = memory_with(|builder| builder.max_running(3));
    let (a, mut at_a) = gated(&pond, "a", 10);
    let (b, mut at_b) = gated(&pond, "b", 10);
    // The page that each new worker needs is read: a queue whose page is read first would otherwise take all slots.
    settled(&pond).await;
    pond.enqueue_all((0..10).flat_map(|n| [("a", work(n)), ("b", work(n))])).await.unwrap();
    settled(&pond).await;
    assert_eq!(a.running() + b.running(), 3);
    assert!(a.running() >= 1 && b.running() >= 1, "queues alternate");
    pond.set_max_running(6).unwrap();
    settled(&pond).await;
    assert_eq!(a.running() + b.running(), 6);
    pond.set_max_running(1).unwrap();
    at_a.let_go(10);
    at_b.let_go(10);
    drained(&pond).await;
    assert_eq!((at_a.waiting().len(), at_b.waiting().len()), (10, 10));
    assert!(matches!(pond.set_max_running(0), Err(Error::InvalidConfig { field: "max_running", .. })));
}

#[tokio::test]
async fn a_queue_has_one_worker() {
    let (_, pond) = memory();
    record(&pond, "q", 1);
    let second = pond.worker("q").handle(|_: Job<Packed>| async { Ok(()) }).start();
    assert!(matches!(second, Err(Error::WorkerExists { queue, .. }) if queue == "q"));
    record(&pond, "other", 1);
}

#[tokio::test]
async fn a_stopped_worker_starts_nothing_and_another_can_follow() {
    let (_, pond) = memory();
    let (worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    settled(&pond).await;
    worker.stop();
    keeper.let_go(3);
    drained(&pond).await;
    assert_eq!(keeper.waiting(), [0]);
    assert_eq!(pond.queue("q").unwrap().counts().pending, 2);
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 2]);
}

#[tokio::test]
async fn slots_that_a_stopped_worker_still_uses_count_for_the_next_worker() {
    let (_, pond) = memory();
    let (worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", (0..2).map(work)).await.unwrap();
    settled(&pond).await;
    worker.stop();
    let ran = record(&pond, "q", 1);
    settled(&pond).await;
    assert_eq!((keeper.next(1).await, ran.len()), (vec![0], 0), "job 0 still runs");
    keeper.let_go(1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn a_kind_without_a_handler_waits_and_other_kinds_run() {
    let (_, pond) = memory();
    let stranger = pond.enqueue("q", NewJob::json("unknown", &1).priority(Priority::FIRST)).await.unwrap();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(2)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [2]);
    let info = pond.job(stranger).unwrap();
    assert_eq!((info.state, info.attempts), (State::Pending, 0));
}

#[tokio::test]
async fn thousands_of_jobs_without_a_handler_do_not_hide_one_with_a_handler() {
    let (_, pond) = memory();
    let ran = record(&pond, "q", 1);
    pond.enqueue_many("q", (0..5_000).map(|_| NewJob::raw("unknown", ""))).await.unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
    assert_eq!(pond.queue("q").unwrap().counts().pending, 5_000);
}

#[tokio::test]
async fn a_worker_with_the_missing_kind_runs_the_jobs_that_were_skipped() {
    let (_, pond) = memory();
    let worker = pond.worker("q").handle(|_: Job<Packed>| async { Ok(()) }).start().unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    worker.stop();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}

#[tokio::test]
async fn one_worker_handles_several_kinds() {
    let (_, pond) = memory();
    let seen = Log::new();
    let (one, two) = (seen.clone(), seen.clone());
    pond.worker("q")
        .concurrency(1)
        .handle(move |job: Job<Work>| {
            one.push(job.n.to_string());
            async { Ok(()) }
        })
        .handle_blocking(move |job: Job<Packed>| {
            two.push(job.text.clone());
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    pond.enqueue("q", Packed { text: "two".into() }).await.unwrap();
    pond.enqueue("q", work(3)).await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), ["1", "two", "3"]);
}

#[tokio::test]
async fn more_urgent_jobs_start_first_and_equally_urgent_ones_in_their_order() {
    let (_, pond) = memory();
    let levels = [5, 0, 9, 5, 0, 3, 9, 1];
    let jobs = levels.iter().enumerate().map(|(n, level)| work(n as u64).priority(Priority::new(*level).unwrap()));
    pond.enqueue_many("q", jobs).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), [1, 4, 7, 5, 0, 3, 2, 6]);
}

#[tokio::test]
async fn a_backlog_larger_than_the_window_drains_completely_and_in_order() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..5_000).map(work)).await.unwrap();
    pond.enqueue_many("q", (5_000..6_000).map(work)).await.unwrap();
    let ran = record(&pond, "q", 1);
    drained(&pond).await;
    assert_eq!(ran.all(), (0..6_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_late_urgent_job_overtakes_a_backlog_that_is_not_in_memory() {
    let (_, pond) = memory();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    pond.enqueue_many("q", (0..6_000).map(work)).await.unwrap();
    settled(&pond).await;
    pond.enqueue("q", work(10_000).priority(Priority::FIRST)).await.unwrap();
    keeper.let_go(2);
    assert_eq!([keeper.entered().await, keeper.entered().await, keeper.entered().await], [0, 10_000, 1]);
    keeper.let_go(5_999);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 6_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_or_run_twice_while_producers_and_refills_race() {
    let (_, pond) = memory();
    pond.enqueue_many("q", (0..6_000).map(work)).await.unwrap();
    let ran = record(&pond, "q", 20);
    let producers: Vec<_> = (0..4u64)
        .map(|p| {
            let pond = pond.clone();
            tokio::spawn(async move {
                for batch in 0..20 {
                    let from = 6_000 + p * 2_000 + batch * 100;
                    pond.enqueue_many("q", (from..from + 100).map(work)).await.unwrap();
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    drained(&pond).await;
    let mut all = ran.all();
    all.sort_unstable();
    assert_eq!(all, (0..14_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn large_payloads_do_not_block_the_window() {
    let (_, pond) = memory();
    let seen = Log::new();
    let log = seen.clone();
    for n in 0..12u8 {
        pond.enqueue("q", NewJob::raw("big", vec![n; 900_000])).await.unwrap();
    }
    pond.worker("q")
        .concurrency(1)
        .handle_raw("big", move |job: Job<Bytes>| {
            log.push((job[0], job.len()));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), (0..12).map(|n| (n, 900_000)).collect::<Vec<_>>());
}

/// Every thread of the async runtime is blocked: the dispatcher has a thread of its own, so blocking handlers still
/// start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handlers_that_block_the_async_runtime_do_not_stop_the_dispatcher() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let (_, pond) = memory_with(|builder| builder.runtime(handle));
    let (entered, at) = mpsc::channel();
    let release = Arc::new(std::sync::Barrier::new(3));
    let barrier = release.clone();
    pond.worker("blocks")
        .handle(move |_: Job<Work>| {
            let (entered, barrier) = (entered.clone(), barrier.clone());
            async move {
                entered.send(()).unwrap();
                barrier.wait();
                Ok(())
            }
        })
        .start()
        .unwrap();
    let (done, finished) = mpsc::channel();
    pond.worker("others")
        .handle_blocking(move |job: Job<Work>| {
            done.send(job.n).unwrap();
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue_many("blocks", [work(1), work(2)]).await.unwrap();
    tokio::task::spawn_blocking(move || {
        at.recv().unwrap();
        at.recv().unwrap();
    })
    .await
    .unwrap();
    pond.enqueue_many("others", (0..50).map(work)).await.unwrap();
    let mut seen: Vec<_> = tokio::task::spawn_blocking(move || finished.iter().take(50).collect()).await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<u64>>());
    release.wait();
    drained(&pond).await;
    drop(pond);
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_handler_can_call_the_queue() {
    let (_, pond) = memory();
    let ran = record(&pond, "next", 1);
    let inner = pond.clone();
    pond.worker("q")
        .handle(move |job: Job<Work>| {
            let pond = inner.clone();
            async move {
                let mut events = pond.events();
                let next = pond.enqueue("next", Work { n: job.n + 1 }).await?;
                assert!(matches!(events.next().await, Some(Ok(millpond::Event::Enqueued { id, .. })) if id == next));
                assert_eq!(pond.job(job.id())?.state, State::Running);
                assert_eq!(pond.cancel(job.id(), "me").await?, CancelOutcome::Requested);
                pond.queue("other")?.pause().await?;
                Ok(())
            }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.failed, 0);
    assert_eq!(ran.all(), [2]);
    assert!(pond.queue("other").unwrap().is_paused());
    close(pond).await;
}

#[tokio::test]
async fn a_blocking_handler_can_wait_for_the_queues_answers() {
    let (_, pond) = memory();
    let inner = pond.clone();
    pond.worker("q")
        .handle_blocking(move |job: Job<Work>| {
            inner.enqueue("later", Work { n: job.n }).wait()?;
            let mut guard = inner.begin_write()?;
            guard.enqueue("later", Work { n: job.n })?;
            guard.commit()?;
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
    assert_eq!(pond.queue("later").unwrap().counts().pending, 2);
    close(pond).await;
}

#[tokio::test]
async fn blocking_handlers_wait_for_a_thread_if_all_are_busy() {
    let (_, pond) = memory_with(|builder| builder.blocking_threads(2));
    let (entered, at) = mpsc::channel();
    let (permit, permits) = mpsc::channel::<()>();
    let permits = std::sync::Mutex::new(permits);
    pond.worker("q")
        .concurrency(10)
        .handle_blocking(move |job: Job<Work>| {
            entered.send(job.n).unwrap();
            permits.lock().unwrap().recv().unwrap();
            Ok(())
        })
        .start()
        .unwrap();
    pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    settled(&pond).await;
    let mut first = [at.recv().unwrap(), at.recv().unwrap()];
    first.sort_unstable();
    assert_eq!((first, at.try_recv().is_err()), ([0, 1], true));
    for _ in 0..5 {
        permit.send(()).unwrap();
    }
    assert_eq!(drained(&pond).await.completed, 5);
}

#[tokio::test]
async fn an_old_handle_does_not_affect_the_next_worker() {
    let (_, pond) = memory();
    let old = pond.worker("q").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    let clone = old.clone();
    old.stop();
    let ran = record(&pond, "q", 1);
    assert!(matches!(clone.set_concurrency(5), Err(Error::WorkerStopped { .. })));
    clone.stop();
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
}
