//! A runtime that ends loses no job: the jobs that ran on it are given back, and the queue reports this and continues
//! without it.

use std::sync::mpsc;
use std::time::Duration;

use millpond::{Error, Event, Explanation, Job, Keep, Millpond, Outcome, QueueSettings, Retention, State};
use tokio::runtime::{Builder, Runtime};

use crate::support::*;

fn runtimes() -> [fn() -> Runtime; 2] {
    [
        || Builder::new_current_thread().enable_all().build().unwrap(),
        || Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(),
    ]
}

/// A queue whose job `1` runs on `runtime` and does not end.
fn running_on(runtime: &Runtime, disk: &OnDisk) -> (Millpond, millpond::JobId, millpond::Events) {
    runtime.block_on(async {
        let pond = disk.open();
        let events = pond.events();
        let (_worker, mut keeper) = gated(&pond, "q", 4);
        let id = pond.enqueue("q", work(1)).await.unwrap();
        assert_eq!(keeper.entered().await, 1);
        (pond, id.id, events)
    })
}

#[track_caller]
fn assert_degraded(pond: &Millpond) {
    let reason = pond.degraded().expect("it is degraded");
    assert!(reason.contains("runtime"), "{reason}");
}

#[test]
fn jobs_on_a_runtime_that_ends_are_given_back_and_use_no_attempt() {
    for runtime in runtimes() {
        in_time("a runtime that ends", move || {
            let disk = OnDisk::new();
            let runtime = runtime();
            let (pond, id, mut events) = running_on(&runtime, &disk);
            drop(runtime);
            pond.enqueue("flushed", work(0)).wait().unwrap();
            let info = pond.job(id).unwrap();
            assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
            assert_degraded(&pond);
            match pond.explain(id).unwrap() {
                Explanation::Degraded { reason, .. } => assert!(reason.contains("runtime"), "{reason}"),
                other => panic!("{other:?}"),
            }
            loop {
                match events.next_blocking().unwrap() {
                    Some(Ok(Event::Degraded { reason, .. })) => break assert!(reason.contains("runtime")),
                    Some(_) => {}
                    None => panic!("listeners get the event"),
                }
            }
            // The queue shuts down in order, and continues in a runtime that is alive.
            pond.shutdown(Duration::ZERO).wait().unwrap();
            let next = Builder::new_current_thread().enable_all().build().unwrap();
            next.block_on(async {
                let pond = disk.open();
                let ran = record(&pond, "q", 1);
                drained(&pond).await;
                assert_eq!(ran.all(), [1]);
            });
        });
    }
}

#[test]
fn jobs_that_would_start_on_an_ended_runtime_keep_waiting() {
    for runtime in runtimes() {
        in_time("a runtime that has ended", move || {
            let disk = OnDisk::new();
            let runtime = runtime();
            let pond = runtime.block_on(async {
                let pond = disk.open();
                record(&pond, "q", 4);
                record(&pond, "other", 4);
                pond
            });
            drop(runtime);
            let ids = pond.enqueue_many("q", (0..200).map(work)).wait().unwrap();
            while pond.degraded().is_none() {
                std::thread::yield_now();
            }
            assert_degraded(&pond);
            // Some that had been handed out by then are still on their way back.
            while pond.queue("q").unwrap().counts().running > 0 {
                std::thread::yield_now();
            }
            // Jobs can still be enqueued.
            let late = pond.enqueue("other", work(1)).wait().unwrap();
            let starts = pond.metrics().starts_total;
            assert!(starts <= 200, "{starts} starts: jobs are not tried again and again");
            for id in ids.into_iter().chain([late]) {
                let info = pond.job(id).unwrap();
                assert_eq!((info.state, info.attempts), (State::Pending, 0));
            }
            assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
            pond.shutdown(Duration::ZERO).wait().unwrap();
        });
    }
}

#[test]
fn an_ended_runtime_refuses_async_workers_and_blocking_ones_run() {
    in_time("a runtime that has ended", || {
        let disk = OnDisk::new();
        let runtime = runtimes()[1]();
        let (pond, ..) = running_on(&runtime, &disk);
        drop(runtime);
        let refused = pond.worker("async").handle(|_: Job<Work>| async { Ok(()) }).start();
        assert!(matches!(refused, Err(Error::RuntimeEnded)), "{refused:?}");
        let (told, ran) = mpsc::channel();
        pond.worker("blocking")
            .handle_blocking(move |job: Job<Work>| {
                told.send(job.n).unwrap();
                Ok(())
            })
            .start()
            .unwrap();
        pond.enqueue("blocking", work(7)).wait().unwrap();
        assert_eq!(ran.recv().unwrap(), 7);
    });
}

#[test]
fn blocking_handlers_and_the_queues_own_upkeep_need_no_runtime() {
    in_time("upkeep without a runtime", || {
        let disk = OnDisk::new();
        let runtime = runtimes()[0]();
        let (told, ran) = mpsc::channel();
        let pond = runtime.block_on(async {
            let pond = disk.open();
            let settings = QueueSettings::default().retention(Retention::default().completed(Keep::new(HOUR, 10)));
            pond.queue("q").unwrap().configure(settings).await.unwrap();
            let handler = move |job: Job<Work>| {
                told.send(job.n).unwrap();
                Ok(Outcome::done_with("result"))
            };
            pond.worker("q").rate_limit(millpond::Rate::per_second(1)).handle_blocking(handler).start().unwrap();
            pond
        });
        drop(runtime);
        pond.enqueue_many("q", [work(1).delay(SECOND), work(2).delay(2 * SECOND)]).wait().unwrap();
        for n in 1..=2 {
            disk.clock.advance(2 * SECOND);
            assert_eq!(ran.recv().unwrap(), n);
        }
        block_on(async { drained(&pond).await });
        assert_eq!(pond.queue("q").unwrap().counts().completed, 2);
        disk.clock.advance(2 * HOUR);
        block_on(async { drained(&pond).await });
        disk.clock.advance(60 * SECOND);
        block_on(async { drained(&pond).await });
        assert_eq!((pond.queue("q").unwrap().counts().completed, pond.metrics().pruned_total), (0, 2));
        assert_eq!(pond.degraded(), None);
    });
}

#[test]
fn a_shutdown_does_not_wait_for_jobs_that_an_ended_runtime_dropped() {
    for runtime in runtimes() {
        in_time("a shutdown after its runtime", move || {
            let disk = OnDisk::new();
            let runtime = runtime();
            let (pond, id, _) = running_on(&runtime, &disk);
            drop(runtime);
            pond.shutdown(HOUR).wait().unwrap();
            assert_eq!(disk.open().job(id).unwrap().state, State::Pending);
        });
    }
}

/// A runtime whose owner panics is dropped while its thread panics. The tasks that it drops have not panicked.
#[test]
fn jobs_on_a_runtime_that_ends_in_a_panic_use_no_attempt_either() {
    for runtime in runtimes() {
        in_time("a runtime that ends in a panic", move || {
            let disk = OnDisk::new();
            let mut outside = None;
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let runtime = runtime();
                let (pond, id, _) = running_on(&runtime, &disk);
                // More jobs than there are slots: the end of the first one must not start the others.
                let others = pond.enqueue_many("q", (2..200).map(work)).wait().unwrap();
                outside = Some((pond, id, others));
                runtime.block_on(async { panic!("the application's main function panics") });
            }));
            assert!(panic.is_err());
            let (pond, id, others) = outside.unwrap();
            // The queue reports it before any call asks for a start.
            assert_degraded(&pond);
            pond.enqueue("flushed", work(0)).wait().unwrap();
            for id in others.into_iter().map(millpond::JobId::from).chain([id]) {
                let info = pond.job(id).unwrap();
                assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
            }
            assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
            pond.shutdown(Duration::ZERO).wait().unwrap();
        });
    }
}

/// Data of a handler that needs a runtime to be dropped, as a pool of connections can. It reports whether it had one.
struct Pool(mpsc::Sender<bool>);

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.0.send(tokio::runtime::Handle::try_current().is_ok());
    }
}

#[test]
fn the_data_of_handlers_is_dropped_in_the_context_of_their_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let pond = runtime.block_on(async { memory().1 });
    let (sender, dropped) = mpsc::channel();
    let start = |queue: &str| {
        let handler = |_: Job<Work>| async { Ok(()) };
        pond.worker(queue).data(Pool(sender.clone())).handle(handler).start().unwrap()
    };
    // This thread has no runtime.
    let worker = start("stopped");
    drop(worker.stop());
    assert!(dropped.recv().unwrap(), "the worker was stopped");
    let _worker = start("kept");
    pond.shutdown(SECOND).wait().unwrap();
    assert!(dropped.recv().unwrap(), "the queue was shut down");
}
