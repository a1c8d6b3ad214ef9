//! The last handle can be dropped anywhere: the drop returns in time, stops the queue and loses nothing. A shutdown
//! returns in time too, whatever blocks.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use millpond::{Context, Error, Job, JobId, Millpond, Outcome, State};
use redb::Database;

use crate::support::*;

/// A shutdown is late if it takes this much longer than its deadline, and a drop if it takes this long at all. It is
/// far more than either needs: other tests run at the same time.
const LATE: Duration = Duration::from_secs(20);

#[track_caller]
fn not_late<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    assert!(begun.elapsed() < LATE, "{what} took {:?}", begun.elapsed());
    result
}

/// Opens the file as soon as it is closed, which must be soon.
fn opened_again(disk: &OnDisk) -> Millpond {
    not_late("the close", || {
        loop {
            match disk.builder().open(disk.path()) {
                Err(Error::AlreadyOpen { .. }) => thread::sleep(Duration::from_millis(1)),
                other => return other.unwrap(),
            }
        }
    })
}

/// The job exists and is undamaged.
#[track_caller]
fn is_pending(pond: &Millpond, id: impl Into<JobId>) {
    let info = pond.job(id).unwrap();
    assert_eq!((info.state, info.attempts, info.errors.len()), (State::Pending, 0, 0));
    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
}

/// The last handle, which reports when it has been dropped.
struct Last(Option<Millpond>, mpsc::Sender<()>);

impl Drop for Last {
    fn drop(&mut self) {
        drop(self.0.take());
        let _ = self.1.send(());
    }
}

fn last_handle(pond: &Millpond) -> (Last, mpsc::Receiver<()>) {
    let (told, dropped) = mpsc::channel();
    (Last(Some(pond.clone()), told), dropped)
}

// --- the last handle is dropped --------------------------------------------------------------

#[test]
fn a_lone_callers_closure_can_hold_the_last_handle() {
    in_time("a call whose closure holds the last handle", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (held, dropped) = last_handle(&pond);
        let call = pond.transaction(move |tx| {
            let _ = &held;
            Ok(tx.enqueue("q", work(1))?)
        });
        drop(pond);
        let id = call.wait().unwrap();
        dropped.recv().unwrap();
        is_pending(&disk.open(), id);
    });
}

#[test]
fn a_closure_can_drop_the_last_handle_while_it_runs() {
    for alone in [true, false] {
        in_time("a closure that drops the last handle", move || {
            let disk = OnDisk::new();
            let pond = disk.open();
            let (held, dropped) = last_handle(&pond);
            let held = Mutex::new(Some(held));
            let call = pond.transaction(move |tx| {
                held.lock().unwrap().take();
                Ok(tx.enqueue("q", work(1))?)
            });
            drop(pond);
            let answer = if alone { call.wait() } else { block_on(call) };
            dropped.recv().unwrap();
            is_pending(&opened_again(&disk), answer.unwrap());
        });
    }
}

#[test]
fn a_closure_whose_call_was_dropped_can_hold_the_last_handle() {
    in_time("a closure of an abandoned call", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (held, dropped) = last_handle(&pond);
        let mut call = Box::pin(pond.transaction(move |_| {
            let _ = &held;
            Ok(())
        }));
        let _ = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        drop(pond);
        drop(call);
        dropped.recv().unwrap();
        drop(opened_again(&disk));
    });
}

#[test]
fn the_result_of_a_closure_can_hold_the_last_handle() {
    in_time("a value that holds the last handle", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (held, dropped) = last_handle(&pond);
        let held = Mutex::new(Some(held));
        let call = pond.transaction(move |_| Ok(held.lock().unwrap().take()));
        drop(pond);
        drop(call.wait().unwrap());
        dropped.recv().unwrap();
        drop(disk.open());
    });
}

#[test]
fn a_guard_can_outlive_the_last_handle() {
    for commits in [true, false] {
        in_time("a drop of the handle before a guard", move || {
            let disk = OnDisk::new();
            let pond = disk.open();
            let mut guard = pond.begin_write().unwrap();
            let id = guard.enqueue("q", work(1)).unwrap();
            not_late("the drop", || drop(pond));
            if commits {
                guard.commit().unwrap();
                is_pending(&opened_again(&disk), id);
            } else {
                drop(guard);
                assert!(matches!(opened_again(&disk).job(id), Err(Error::NoSuchJob { .. })));
            }
        });
    }
}

#[test]
fn the_last_handle_can_be_dropped_while_another_thread_holds_a_guard() {
    in_time("a drop beside a guard", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (go, writer) = guard_elsewhere(&pond, enqueue_and_commit);
        not_late("the drop", || drop(pond));
        go.send(()).unwrap();
        let id = writer.join().unwrap().unwrap();
        is_pending(&opened_again(&disk), id);
    });
}

#[test]
fn the_last_handle_can_be_dropped_while_a_closure_waits_for_that() {
    in_time("a drop beside a closure", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (entered, is_in) = mpsc::channel();
        let (go, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        let call = pond.transaction(move |tx| {
            entered.send(()).unwrap();
            told.lock().unwrap().recv().unwrap();
            Ok(tx.enqueue("q", work(1))?)
        });
        let caller = thread::spawn(move || call.wait());
        is_in.recv().unwrap();
        not_late("the drop", || drop(pond));
        go.send(()).unwrap();
        let id = caller.join().unwrap().unwrap();
        is_pending(&opened_again(&disk), id);
    });
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// In a capture of the handler.
    Handler,
    /// In the worker's shared data.
    Data,
    /// In an attempt that is running.
    Attempt,
    /// In the writes with a completion.
    Completion,
}

#[test]
fn a_shutdown_returns_while_a_worker_holds_the_last_handle() {
    for place in [Place::Handler, Place::Data, Place::Attempt, Place::Completion] {
        for blocking in [false, true] {
            in_time("a shutdown whose worker holds the last handle", move || {
                let disk = OnDisk::new();
                let pond = disk.open();
                let (held, dropped) = last_handle(&pond);
                let (entered, is_in) = mpsc::channel();
                hold(&pond, place, blocking, held, entered);
                let id = pond.enqueue("q", work(1)).wait().unwrap();
                is_in.recv().unwrap();
                let stop = pond.shutdown(Duration::ZERO);
                drop(pond);
                not_late("the shutdown", || stop.wait()).unwrap();
                if !(blocking && matches!(place, Place::Attempt)) {
                    dropped.recv().unwrap();
                }
                let pond = disk.open();
                // A blocking handler returns when it is told to stop.
                match pond.job(id) {
                    Err(Error::NoSuchJob { .. }) if blocking || matches!(place, Place::Completion) => {}
                    _ => is_pending(&pond, id),
                }
            });
        }
    }
}

/// A worker that holds `held` at `place`. Its attempt ends only if the place is the completion.
fn hold(pond: &Millpond, place: Place, blocking: bool, held: Last, entered: mpsc::Sender<()>) {
    struct Kept(#[expect(dead_code, reason = "held, not read")] Mutex<Last>);
    let worker = pond.worker("q").no_timeout();
    let (held, worker) = match place {
        Place::Data => (None, worker.data(Kept(Mutex::new(held)))),
        _ => (Some(held), worker),
    };
    let held = Mutex::new(held);
    let begin = move |ctx: &Context| {
        let attempt = match place {
            Place::Handler | Place::Data => None,
            Place::Attempt => held.lock().unwrap().take(),
            Place::Completion => {
                let held = Mutex::new(held.lock().unwrap().take());
                ctx.on_complete(move |_| {
                    let _ = &held;
                    Ok(())
                });
                None
            }
        };
        entered.send(()).unwrap();
        attempt
    };
    let ends = matches!(place, Place::Completion);
    let started = if blocking {
        worker
            .handle_blocking(move |_: Job<Work>, ctx: Context| {
                let _attempt = begin(&ctx);
                while !ends && !ctx.is_cancelled() {
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            })
            .start()
    } else {
        worker
            .handle(move |_: Job<Work>, ctx: Context| {
                let attempt = begin(&ctx);
                async move {
                    let _attempt = attempt;
                    if !ends {
                        std::future::pending::<()>().await;
                    }
                    Ok(())
                }
            })
            .start()
    };
    started.unwrap();
}

#[test]
fn an_attempt_can_drop_the_last_handle() {
    for blocking in [false, true] {
        in_time("an attempt that drops the last handle", move || {
            let disk = OnDisk::new();
            let pond = disk.open();
            let (held, dropped) = last_handle(&pond);
            let (go, told) = mpsc::channel::<()>();
            let (held, told) = (Arc::new(Mutex::new(Some(held))), Arc::new(Mutex::new(told)));
            let drops = move || {
                told.lock().unwrap().recv().unwrap();
                drop(held.lock().unwrap().take());
            };
            let worker = pond.worker("q").no_timeout();
            let started = match blocking {
                true => worker
                    .handle_blocking(move |_: Job<Work>| {
                        drops();
                        Ok(())
                    })
                    .start(),
                false => worker
                    .handle(move |_: Job<Work>| {
                        drops();
                        async { Ok(()) }
                    })
                    .start(),
            };
            started.unwrap();
            let id = pond.enqueue("q", work(1)).wait().unwrap();
            while pond.job(id).unwrap().state != State::Running {
                thread::yield_now();
            }
            drop(pond);
            go.send(()).unwrap();
            dropped.recv().unwrap();
            is_pending(&opened_again(&disk), id);
        });
    }
}

#[test]
fn the_dead_letter_hook_does_not_keep_a_closed_queue_alive() {
    in_time("a hook that holds a handle", || {
        let disk = OnDisk::new();
        let held: Arc<Mutex<Option<Last>>> = Arc::default();
        let (in_hook, (told, hears)) = (held.clone(), mpsc::channel());
        let builder = disk.builder().on_first_dead_letter(move |_| {
            // The last handle, or nothing.
            drop(in_hook.lock().unwrap().take());
            told.send(()).unwrap();
        });
        let pond = builder.open(disk.path()).unwrap();
        let (last, dropped) = last_handle(&pond);
        *held.lock().unwrap() = Some(last);
        let dies = |_: Job<Work>| async { Ok(Outcome::dead_letter("on purpose")) };
        pond.worker("q").handle(dies).start().unwrap();
        let enqueue = pond.enqueue("q", work(1));
        drop(pond);
        let id = enqueue.wait().unwrap();
        hears.recv().unwrap();
        dropped.recv().unwrap();
        assert_eq!(opened_again(&disk).job(id).unwrap().state, State::Dead);
    });
}

#[test]
fn captures_of_the_hook_are_dropped_when_the_queue_is_closed() {
    in_time("a hook that holds a handle", || {
        let (kept, is_kept) = (Arc::new(()), Arc::new(Mutex::new(None::<Millpond>)));
        let (weak, in_hook) = (Arc::downgrade(&kept), is_kept.clone());
        let (_, pond) = memory_with(|builder| {
            builder.on_first_dead_letter(move |_| {
                let _ = (&kept, &in_hook);
            })
        });
        *is_kept.lock().unwrap() = Some(pond.clone());
        drop(is_kept);
        pond.shutdown(Duration::ZERO).wait().unwrap();
        assert_eq!(weak.strong_count(), 0);
    });
}

#[test]
fn the_file_can_be_opened_at_once_after_the_last_handle_is_dropped() {
    in_time("a drop in the middle of work", || {
        let disk = OnDisk::new();
        for round in 0..10 {
            let pond = disk.open();
            let (_worker, mut keeper) = gated(&pond, "q", 2);
            pond.enqueue_many("q", (0..4).map(work)).wait().unwrap();
            block_on(keeper.entered());
            let calls: Vec<_> = (0..4).map(|n| pond.enqueue("other", work(n))).collect();
            let callers: Vec<_> = calls.into_iter().map(|call| thread::spawn(move || call.wait())).collect();
            if round % 2 == 0 {
                thread::yield_now();
            }
            drop(pond);
            drop(disk.open());
            for caller in callers {
                assert!(matches!(caller.join().unwrap(), Ok(_) | Err(Error::Closed)));
            }
        }
    });
}

// --- a shutdown while something blocks --------------------------------------------------------

/// The shutdown returns a named error, the queue goes on closing in the background, and a second call waits again.
#[track_caller]
fn assert_still_closing(pond: &Millpond, by: &str, ends: impl FnOnce()) {
    let deadline = Duration::from_millis(100);
    for _ in 0..2 {
        match not_late("the shutdown", || pond.shutdown(deadline).wait()) {
            Err(Error::StillClosing { held_by, .. }) => assert!(held_by.contains(by), "{held_by}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(pond.enqueue("q", work(9)).wait(), Err(Error::Closed)));
    ends();
    pond.shutdown(LATE).wait().unwrap();
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_a_guard_is_held() {
    in_time("a shutdown beside a guard", || {
        let disk = OnDisk::new();
        let pond = disk.builder().write_wait_max(HOUR).open(disk.path()).unwrap();
        let (go, writer) = guard_elsewhere(&pond, enqueue_and_commit);
        assert_still_closing(&pond, "begin_write", || go.send(()).unwrap());
        let id = writer.join().unwrap().unwrap();
        is_pending(&disk.open(), id);
    });
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_a_closure_blocks() {
    for alone in [true, false] {
        in_time("a shutdown beside a closure", move || {
            let disk = OnDisk::new();
            let pond = disk.open();
            let (entered, is_in) = mpsc::channel();
            let (go, told) = mpsc::channel::<()>();
            let told = Mutex::new(told);
            let call = pond.transaction(move |tx| {
                entered.send(()).unwrap();
                told.lock().unwrap().recv().unwrap();
                Ok(tx.enqueue("q", work(1))?)
            });
            let caller = thread::spawn(move || if alone { call.wait() } else { block_on(call) });
            is_in.recv().unwrap();
            assert_still_closing(&pond, "closure", || go.send(()).unwrap());
            let id = caller.join().unwrap().unwrap();
            is_pending(&disk.open(), id);
        });
    }
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_a_hook_blocks() {
    in_time("a shutdown beside a hook", || {
        let disk = OnDisk::new();
        let (entered, is_in) = mpsc::channel();
        let (go, told) = mpsc::channel::<()>();
        let told = Mutex::new(told);
        let builder = disk.builder().on_first_dead_letter(move |_| {
            entered.send(()).unwrap();
            told.lock().unwrap().recv().unwrap();
        });
        let pond = builder.open(disk.path()).unwrap();
        let dies = |_: Job<Work>| async { Ok(Outcome::dead_letter("on purpose")) };
        pond.worker("q").handle(dies).start().unwrap();
        let id = pond.enqueue("q", work(1)).wait().unwrap();
        is_in.recv().unwrap();
        assert_still_closing(&pond, "callback", || go.send(()).unwrap());
        assert_eq!(disk.open().job(id).unwrap().state, State::Dead);
    });
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_the_application_holds_a_transaction() {
    in_time("a shutdown beside a transaction", || {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(Database::create(dir.path().join("app.redb")).unwrap());
        let pond = Millpond::builder().write_wait_max(HOUR).attach(database.clone()).unwrap();
        let id = pond.enqueue("q", work(1)).wait().unwrap();
        let txn = database.begin_write().unwrap();
        assert_still_closing(&pond, "write transaction", || txn.commit().unwrap());
        let pond = Millpond::builder().attach(database).unwrap();
        is_pending(&pond, id);
    });
}

/// Its drop reports that it has begun, and blocks until it is released.
struct BlocksItsDrop {
    entered: mpsc::Sender<()>,
    told: Mutex<mpsc::Receiver<()>>,
}

impl Drop for BlocksItsDrop {
    fn drop(&mut self) {
        self.entered.send(()).unwrap();
        let _ = self.told.lock().unwrap().recv();
    }
}

fn blocks_its_drop() -> (BlocksItsDrop, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let ((entered, is_entered), (let_go, told)) = (mpsc::channel(), mpsc::channel());
    (BlocksItsDrop { entered, told: Mutex::new(told) }, is_entered, let_go)
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_a_drop_of_handlers_or_data_blocks() {
    for is_data in [false, true] {
        in_time("a shutdown beside a drop that blocks", move || {
            let (_, pond) = memory();
            let (value, entered, let_go) = blocks_its_drop();
            let builder = pond.worker("q");
            let builder = match is_data {
                true => builder.data(value).handle(|_: Job<Work>| async { Ok(()) }),
                false => builder.handle(move |_: Job<Work>| {
                    let _ = &value;
                    async { Ok(()) }
                }),
            };
            builder.start().unwrap();
            pond.enqueue("q", work(1)).wait().unwrap();
            block_on(drained(&pond));
            assert_still_closing(&pond, "the drop of a handler", || {
                entered.recv().unwrap();
                let_go.send(()).unwrap();
            });
        });
    }
}

#[test]
fn a_shutdown_returns_at_its_deadline_while_a_drop_of_the_hook_blocks() {
    in_time("a shutdown beside a drop that blocks", || {
        let (value, entered, let_go) = blocks_its_drop();
        let hook = move |_: &millpond::Event| {
            let _ = &value;
        };
        let memory = redb::backends::InMemoryBackend::new();
        let pond = Millpond::builder().on_first_dead_letter(hook).open_backend(memory).unwrap();
        assert_still_closing(&pond, "a callback of the application", || {
            entered.recv().unwrap();
            let_go.send(()).unwrap();
        });
    });
}

#[test]
fn the_last_handle_can_be_dropped_while_a_drop_of_data_blocks_and_the_file_is_closed() {
    in_time("the drop of the last handle", || {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (value, entered, let_go) = blocks_its_drop();
        pond.worker("q").data(value).handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
        let dropper = thread::spawn(move || drop(pond));
        entered.recv().unwrap();
        drop(opened_again(&disk));
        let_go.send(()).unwrap();
        dropper.join().unwrap();
    });
}

#[test]
fn a_second_shutdown_with_less_time_does_not_wait_for_the_first() {
    in_time("two shutdowns", || {
        let (_, pond) = memory();
        let (_worker, mut keeper) = gated(&pond, "q", 1);
        pond.enqueue("q", work(1)).wait().unwrap();
        block_on(keeper.entered());
        let first = pond.shutdown(HOUR);
        let first = thread::spawn(move || first.wait());
        while !pond.testing().is_stopping() {
            thread::yield_now();
        }
        let second = not_late("the second shutdown", || pond.shutdown(Duration::ZERO).wait());
        match second {
            Err(Error::StillClosing { held_by, .. }) => assert!(held_by.contains("running"), "{held_by}"),
            other => panic!("{other:?}"),
        }
        keeper.let_go(1);
        first.join().unwrap().unwrap();
        pond.shutdown(Duration::ZERO).wait().unwrap();
    });
}
