//! The last handle is dropped anywhere, at the same time as other calls: the drop returns, the file is closed, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Error, Millpond};
use millpond_testkit::SimDisk;
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::support::{builder, explore, is_sound, job, noting, open, waiting};

/// Opens the disk's bytes as they are once the queue on it is closed.
fn opened_again(disk: &SimDisk, clock: &ManualClock, closed: &mut millpond::Events) -> Millpond {
    while closed.next_blocking().unwrap().is_some() {}
    open(disk, clock)
}

#[test]
fn a_lone_callers_closure_that_holds_the_last_handle_is_dropped_after_its_commit() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let mut closed = pond.events();
        let held = pond.clone();
        let call = pond.transaction(move |tx| {
            let _ = &held;
            Ok(tx.enqueue("q", job(1))?)
        });
        drop(pond);
        call.wait().unwrap();
        let pond = opened_again(&disk, &clock, &mut closed);
        assert_eq!(waiting(&pond), [1]);
        is_sound(&pond);
    });
}

#[test]
fn a_worker_that_holds_the_last_handle_does_not_hold_up_a_shutdown() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let (held, worker) = (pond.clone(), std::sync::Arc::new(()));
        let of_handler = worker.clone();
        let handler = move |_: millpond::Job<bytes::Bytes>| {
            let _ = (&held, &of_handler);
            async {
                shuttle::future::yield_now().await;
                Ok(())
            }
        };
        pond.worker("q").no_timeout().handle_raw("work", handler).start().unwrap();
        pond.enqueue_many("q", [job(1), job(2)]).wait().unwrap();
        let stop = pond.shutdown(Duration::ZERO);
        drop(pond);
        stop.wait().unwrap();
        let pond = open(&disk, &clock);
        is_sound(&pond);
        // The attempts that were given up have ended by then, too: a schedule must not end in the middle of one.
        while std::sync::Arc::strong_count(&worker) > 1 {
            shuttle::thread::yield_now();
        }
    });
}

#[test]
fn a_drop_beside_a_guard_and_callers_returns_and_every_call_is_answered() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let mut closed = pond.events();
        let (for_guard, call) = (pond.clone(), pond.enqueue("q", job(2)));
        let guarded = thread::spawn(move || {
            let mut guard = for_guard.begin_write()?;
            // Perhaps the last handle, dropped before its guard.
            drop(for_guard);
            guard.enqueue("q", job(1))?;
            guard.commit()
        });
        let caller = thread::spawn(move || call.wait());
        drop(pond);
        let guarded = guarded.join().unwrap();
        assert!(matches!(guarded, Ok(()) | Err(Error::Closed)), "{guarded:?}");
        let called = caller.join().unwrap();
        assert!(matches!(called, Ok(_) | Err(Error::Closed | Error::WriteHeld { .. } | Error::Degraded { .. })));
        let pond = opened_again(&disk, &clock, &mut closed);
        let expected: Vec<u8> = [(1, guarded.is_ok()), (2, called.is_ok())]
            .iter()
            .filter(|(_, is_there)| *is_there)
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(waiting(&pond), expected);
        is_sound(&pond);
    });
}

#[test]
fn a_hook_that_drops_the_last_handle_does_not_deadlock() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let held: Arc<Mutex<Option<Millpond>>> = Arc::new(Mutex::new(None));
        let (in_hook, again) = (held.clone(), disk.clone());
        let builder = builder(&clock).on_first_dead_letter(move |_| {
            let last = in_hook.lock().unwrap().take();
            if let Some(pond) = last {
                assert!(matches!(pond.enqueue("q", job(3)).wait(), Err(Error::WouldDeadlock)));
            }
        });
        let pond = builder.open_backend_with(move || Ok(again.clone())).unwrap();
        let mut closed = pond.events();
        *held.lock().unwrap() = Some(pond.clone());
        let dies = |_: millpond::Job<bytes::Bytes>| async { Ok(millpond::Outcome::dead_letter("on purpose")) };
        pond.worker("q").no_timeout().handle_raw("work", dies).start().unwrap();
        pond.enqueue("q", job(1)).wait().unwrap();
        drop(pond);
        let pond = opened_again(&disk, &clock, &mut closed);
        assert_eq!(waiting(&pond), Vec::<u8>::new());
        is_sound(&pond);
    });
}

#[test]
fn a_drop_in_the_middle_of_work_loses_nothing() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let (worker, ran) = noting(&pond, "q", 2);
        drop(worker);
        let callers: Vec<_> = (1..=2)
            .map(|n| {
                let call = pond.enqueue("q", job(n));
                thread::spawn(move || call.wait().is_ok().then_some(n))
            })
            .collect();
        drop(pond);
        let acknowledged: Vec<u8> = callers.into_iter().filter_map(|caller| caller.join().unwrap()).collect();
        // Without other threads of the application the drop waits for the close.
        let pond = open(&disk, &clock);
        let (ran, left) = (ran.so_far(), waiting(&pond));
        for n in acknowledged {
            assert!(ran.contains(&n) || left.contains(&n), "job {n} is lost: ran {ran:?}, left {left:?}");
        }
        is_sound(&pond);
    });
}
