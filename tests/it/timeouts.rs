//! The time of an attempt begins when its handler is called, and what a handler returns after its timeout does not
//! count.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{
    Clock, Context, Enqueued, Explanation, Failure, FailureKind, Handled, Job, JobInfo, Millpond, Outcome, Retry, State,
};
use redb::{ReadableTableMetadata, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");

/// The answer of a handler, by the number of its job.
fn answer(n: u64) -> Handled<Outcome> {
    match n {
        0 => Ok(Outcome::Done(None)),
        1 => Ok(Outcome::done_with("result")),
        2 => Err(Failure::from("boom")),
        3 => Ok(Outcome::retry_after("boom", HOUR)),
        4 => Ok(Outcome::snooze(HOUR)),
        5 => Ok(Outcome::rate_limited(HOUR)),
        6 => Ok(Outcome::cancel("never")),
        7 => Ok(Outcome::dead_letter("never")),
        _ => panic!("boom"),
    }
}

const ANSWERS: u64 = 9;

/// Blocks its thread for longer than its timeout, by the queue's clock, and then returns its answer.
fn answer_late(clock: &ManualClock, n: u64, ctx: &Context) -> Handled<Outcome> {
    ctx.on_complete(move |tx| {
        tx.open_table(ROWS)?.insert(n, 1)?;
        Ok(())
    });
    clock.advance(SECOND);
    answer(n)
}

async fn assert_all_timed_out(pond: &Millpond, ids: &[Enqueued]) {
    let drained = drained(pond).await;
    assert_eq!((drained.completed, drained.failed), (0, ids.len() as u64));
    assert_eq!(pond.metrics().timeouts_total, ids.len() as u64);
    for (n, id) in ids.iter().enumerate() {
        let JobInfo { state, attempts, errors, result, snoozes, reason, .. } = pond.job(*id).unwrap();
        assert_eq!((state, attempts, snoozes, result), (State::Dead, 1, 0, None), "answer {n}");
        assert_eq!((errors.len(), errors[0].kind), (1, FailureKind::Timeout), "answer {n}");
        assert_eq!(reason.as_deref(), Some("no attempts left"), "answer {n}");
        assert!(errors[0].message.starts_with("the attempt ran longer than its timeout of 1s"), "{errors:?}");
        let says_more = [2, 3, 8].contains(&n);
        assert_eq!(errors[0].message.contains("; after that its handler failed: boom"), says_more, "{errors:?}");
    }
    pond.transaction(|tx| {
        assert!(tx.open_table(ROWS)?.is_empty()?, "no writes of an attempt that has failed");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(pond.queue("q").unwrap().rate().available_in(), None, "no answer holds the queue back");
}

#[tokio::test]
async fn an_async_handler_that_blocks_past_its_timeout_has_failed_whatever_it_returns() {
    let (clock, pond) = memory();
    let hands = clock.clone();
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND)
        .retry(Retry::none())
        .handle(move |job: Job<Work>, ctx: Context| {
            let clock = hands.clone();
            async move { answer_late(&clock, job.n, &ctx) }
        })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (0..ANSWERS).map(work)).await.unwrap();
    assert_all_timed_out(&pond, &ids).await;
}

#[tokio::test]
async fn a_blocking_handler_that_returns_after_its_timeout_has_failed_whatever_it_returns() {
    let (clock, pond) = memory();
    let hands = clock.clone();
    pond.worker("q")
        .concurrency(1)
        .timeout(SECOND)
        .retry(Retry::none())
        .handle_blocking(move |job: Job<Work>, ctx: Context| answer_late(&hands, job.n, &ctx))
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", (0..ANSWERS).map(work)).await.unwrap();
    assert_all_timed_out(&pond, &ids).await;
}

#[tokio::test]
async fn a_handler_that_returns_just_before_its_timeout_succeeds() {
    let (clock, pond) = memory();
    let hands = clock.clone();
    pond.worker("q")
        .timeout(SECOND)
        .retry(Retry::none())
        .handle(move |_: Job<Work>| {
            hands.advance(Duration::from_nanos(999_999_999));
            async { Ok(()) }
        })
        .start()
        .unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(drained(&pond).await.completed, 1);
}

#[tokio::test]
async fn a_payload_that_fails_to_decode_after_the_timeout_is_still_undecodable() {
    let (clock, pond) = memory();
    let hands = clock.clone();
    struct Slow;
    impl serde::Serialize for Slow {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    thread_local! {
        static CLOCK: std::cell::RefCell<Option<ManualClock>> = const { std::cell::RefCell::new(None) };
    }
    impl<'de> serde::Deserialize<'de> for Slow {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            CLOCK.with_borrow(|clock| clock.as_ref().unwrap().advance(HOUR));
            Err(serde::de::Error::custom("never"))
        }
    }
    impl millpond::Kind for Slow {
        const KIND: &'static str = "slow";
    }
    CLOCK.set(Some(hands));
    pond.worker("q").timeout(SECOND).handle(|_: Job<Slow>| async { Ok(()) }).start().unwrap();
    let id = pond.enqueue("q", Slow).await.unwrap();
    drained(&pond).await;
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.errors[0].kind), (State::Dead, FailureKind::Undecodable));
}

/// Blocking handlers that wait until the test releases them, one after another.
struct Blocked {
    called: mpsc::Receiver<(u64, Option<Duration>)>,
    go: mpsc::Sender<()>,
}

impl Blocked {
    /// The next job whose handler was called, and how much time that handler has.
    fn called(&self) -> (u64, Option<Duration>) {
        self.called.recv().unwrap()
    }

    fn no_other_was_called(&self) -> bool {
        self.called.try_recv().is_err()
    }

    fn release_one(&self) {
        self.go.send(()).unwrap();
    }
}

fn blocked(pond: &Millpond, queue: &str, concurrency: usize, timeout: Duration) -> Blocked {
    let (sender, called) = mpsc::channel();
    let (go, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    pond.worker(queue)
        .concurrency(concurrency)
        .timeout(timeout)
        .handle_blocking(move |job: Job<Work>, ctx: Context| {
            sender.send((job.n, ctx.time_left())).unwrap();
            // The queue is closed when the test ends.
            let _ = told.lock().unwrap().recv();
            Ok(())
        })
        .start()
        .unwrap();
    Blocked { called, go }
}

#[tokio::test]
async fn the_time_of_a_blocking_attempt_begins_when_a_thread_starts_it() {
    let (clock, pond) = memory_with(|builder| builder.blocking_threads(1));
    let handlers = blocked(&pond, "q", 10, SECOND);
    let ids = pond.enqueue_many("q", (0..5).map(work)).await.unwrap();
    let begun = clock.wall();
    for n in 0..5u64 {
        assert_eq!(handlers.called(), (n, Some(SECOND)), "the whole time of job {n} is left");
        settled(&pond).await;
        let info = pond.job(ids[n as usize]).unwrap();
        assert_eq!((info.state, info.attempts), (State::Running, 1));
        assert_eq!(info.started_at, Some(begun + Duration::from_millis(600) * n as u32));
        clock.advance(Duration::from_millis(600));
        settled(&pond).await;
        assert!(handlers.no_other_was_called());
        handlers.release_one();
    }
    let drained = drained(&pond).await;
    assert_eq!((drained.completed, drained.failed, pond.metrics().timeouts_total), (5, 0, 0));
}

#[tokio::test]
async fn a_job_that_waits_for_a_thread_uses_no_slot_and_other_queues_continue() {
    let (clock, pond) = memory_with(|builder| builder.blocking_threads(1).max_running(3));
    let handlers = blocked(&pond, "blocking", 10, HOUR);
    let others = blocked(&pond, "others", 10, HOUR);
    let ids = pond.enqueue_many("blocking", (0..10).map(work)).await.unwrap();
    assert_eq!(handlers.called().0, 0);
    let other = pond.enqueue("others", work(100)).await.unwrap();
    let (worker, mut keeper) = gated(&pond, "async", 2);
    pond.enqueue_many("async", (0..2).map(work)).await.unwrap();
    assert_eq!(keeper.next(2).await, [0, 1], "the slots are not taken by jobs that cannot run");
    assert_eq!((worker.running(), pond.queue("blocking").unwrap().counts().running), (2, 1));
    keeper.let_go(2);
    running(&pond, "async", 0).await;
    let waits = pond.job(ids[1]).unwrap();
    assert_eq!((waits.state, waits.attempts, waits.started_at), (State::Pending, 0, None));
    assert!(pond.explain(ids[1]).unwrap().to_string().contains("threads"), "{}", pond.explain(ids[1]).unwrap());
    assert!(pond.explain(other).unwrap().to_string().contains("threads"), "{}", pond.explain(other).unwrap());
    // Time passes, and none of it counts for these attempts.
    clock.advance(HOUR / 2);
    settled(&pond).await;
    handlers.release_one();
    // Queues get threads in the order in which they began to wait.
    assert_eq!(handlers.called(), (1, Some(HOUR)));
    handlers.release_one();
    assert_eq!(others.called(), (100, Some(HOUR)));
    others.release_one();
    for n in 2..10 {
        assert_eq!(handlers.called(), (n, Some(HOUR)));
        handlers.release_one();
    }
    assert_eq!(drained(&pond).await.failed, 0);
}

#[tokio::test]
async fn a_queue_that_does_not_use_its_thread_leaves_it_to_the_next_queue() {
    let (_, pond) = memory_with(|builder| builder.blocking_threads(1));
    let first = blocked(&pond, "first", 1, HOUR);
    let (paused, next) = (blocked(&pond, "paused", 1, HOUR), blocked(&pond, "next", 1, HOUR));
    pond.enqueue("first", work(1)).await.unwrap();
    first.called();
    let waits = pond.enqueue("paused", work(2)).await.unwrap();
    settled(&pond).await;
    pond.enqueue("next", work(3)).await.unwrap();
    settled(&pond).await;
    pond.queue("paused").unwrap().pause().await.unwrap();
    first.release_one();
    assert_eq!(next.called().0, 3);
    next.release_one();
    drained(&pond).await;
    assert_eq!(pond.explain(waits).unwrap(), Explanation::QueuePaused);
    pond.queue("paused").unwrap().resume().await.unwrap();
    assert_eq!(paused.called().0, 2);
    paused.release_one();
    drained(&pond).await;
}

#[tokio::test]
async fn a_stop_gives_back_jobs_that_wait_for_a_thread_and_uses_no_attempt() {
    let disk = OnDisk::new();
    let pond = disk.builder().blocking_threads(1).open(disk.path()).unwrap();
    let handlers = blocked(&pond, "q", 10, HOUR);
    let ids = pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    handlers.called();
    starts_written(&pond, &disk.clock).await;
    let crashed = disk.crashed("copy.redb");
    let used = |pond: &Millpond| ids.iter().map(|id| pond.job(*id).unwrap().errors.len()).collect::<Vec<_>>();
    assert_eq!(used(&crashed), [1, 0, 0], "only attempts that a handler had record the crash");
    pond.shutdown(Duration::ZERO).await.unwrap();
    assert!(handlers.no_other_was_called());
    drop((handlers, pond));
    let pond = disk.open();
    let attempts: Vec<_> = ids.iter().map(|id| pond.job(*id).unwrap().attempts).collect();
    assert_eq!((attempts, used(&pond)), (vec![0, 0, 0], vec![0, 0, 0]));
}

/// The application's runtime is busy with something else for an hour: it does not call the handlers that it was
/// given.
#[test]
fn the_time_of_an_async_attempt_begins_when_its_handler_is_called() {
    let disk = OnDisk::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pond = disk.builder().runtime(runtime.handle().clone()).open(disk.path()).unwrap();
    let seen = Log::new();
    let log = seen.clone();
    pond.worker("q")
        .timeout(SECOND)
        .handle(move |job: Job<Work>, ctx: Context| {
            log.push((job.n, ctx.time_left()));
            async { Ok(Outcome::done_with("x")) }
        })
        .start()
        .unwrap();
    let id = pond.enqueue("q", work(1)).wait().unwrap();
    let block_on = |pond: &Millpond| {
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        other.block_on(settled(pond));
    };
    block_on(&pond);
    disk.clock.advance(HOUR);
    block_on(&pond);
    assert_eq!((seen.len(), pond.metrics().timeouts_total), (0, 0));
    let info = pond.job(id).unwrap();
    assert_eq!((info.attempts, info.started_at), (0, None), "no attempt has been made yet");
    let crashed = disk.crashed("copy.redb");
    let info = crashed.job(id).unwrap();
    assert_eq!((info.attempts, info.errors.len()), (0, 0), "no handler had it when the process died");
    drop(crashed);
    let called_at = disk.clock.wall();
    runtime.block_on(async {
        drained(&pond).await;
    });
    assert_eq!(seen.all(), [(1, Some(SECOND))]);
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.started_at), (State::Completed, 1, Some(called_at)));
}

/// The start of an attempt that was called late is written once it has run for a while, as for any other attempt.
#[test]
fn the_start_mark_of_an_attempt_is_not_written_before_its_late_call() {
    let disk = OnDisk::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pond = disk.builder().runtime(runtime.handle().clone()).open(disk.path()).unwrap();
    let (_worker, mut keeper) = gated(&pond, "q", 1);
    let id = pond.enqueue("q", work(1)).wait().unwrap();
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    other.block_on(settled(&pond));
    // The start mark would be written by now if the attempt had begun.
    disk.clock.advance(SECOND);
    other.block_on(settled(&pond));
    let crashed = disk.crashed("before.redb");
    assert_eq!(crashed.job(id).unwrap().errors.len(), 0);
    drop(crashed);
    runtime.block_on(async {
        assert_eq!(keeper.entered().await, 1);
        starts_written(&pond, &disk.clock).await;
    });
    let crashed = disk.crashed("after.redb");
    let errors = crashed.job(id).unwrap().errors;
    assert_eq!((errors.len(), errors[0].kind), (1, FailureKind::Crash));
    keeper.let_go(1);
    runtime.block_on(async {
        drained(&pond).await;
    });
}
