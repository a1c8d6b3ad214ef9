//! Blocking handlers and the threads that run them: a job that was handed out always gets a thread.

use std::sync::Arc;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{Job, Millpond, Worker};
use millpond_testkit::SimDisk;
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::support::{beside, builder, explore, is_sound, job, open, until_drained};

/// Handlers wait here for each other, in pairs.
#[derive(Default)]
struct Meeting {
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn wait_for_the_other(&self) {
        let mut arrived = self.arrived.lock().unwrap();
        *arrived += 1;
        let pair_is_complete = arrived.next_multiple_of(2);
        self.changed.notify_all();
        drop(self.changed.wait_while(arrived, |arrived| *arrived < pair_is_complete).unwrap());
    }
}

/// A worker with two slots whose blocking handlers wait for each other: none returns before both run.
fn meeting(pond: &Millpond) -> Worker {
    let meeting: Arc<Meeting> = Arc::default();
    let handler = move |_: Job<Bytes>| {
        meeting.wait_for_the_other();
        Ok(())
    };
    pond.worker("q").concurrency(2).no_timeout().handle_blocking_raw("work", handler).start().unwrap()
}

#[test]
fn two_blocking_handlers_that_wait_for_each_other_both_get_a_thread() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let _worker = meeting(&pond);
        pond.enqueue_many("q", [job(1), job(2)]).wait().unwrap();
        until_drained(&pond);
        is_sound(&pond);
    });
}

#[test]
fn blocking_jobs_that_come_one_by_one_while_threads_fall_idle_all_run() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let _worker = meeting(&pond);
        for pair in 0..3 {
            let producers: Vec<_> = [1, 2]
                .map(|n| beside(&pond, move |pond| pond.enqueue("q", job(pair * 10 + n)).wait().unwrap()))
                .into_iter()
                .collect();
            for producer in producers {
                producer.join().unwrap();
            }
            until_drained(&pond);
        }
        is_sound(&pond);
    });
}

/// All allowed threads exist, one is idle and one is at the end of its task, and two other threads hand out jobs at
/// once: the one that finds the idle thread busy must not leave its job without a thread.
#[test]
fn jobs_that_come_while_the_last_thread_falls_idle_all_run() {
    explore(|| {
        let disk = SimDisk::new();
        let builder = builder(&ManualClock::new()).blocking_threads(2);
        let pond = builder.open_backend_with(move || Ok(disk.clone())).unwrap();
        let meeting: Arc<Meeting> = Arc::default();
        let handler = move |job: Job<Bytes>| {
            // The first job of each round runs alone.
            if job[0] % 10 != 0 {
                meeting.wait_for_the_other();
            }
            Ok(())
        };
        let worker = pond.worker("q").concurrency(2).no_timeout();
        let _worker = worker.handle_blocking_raw("work", handler).start().unwrap();
        for round in 0..3 {
            let jobs = [vec![job(round * 10), job(round * 10 + 1)], vec![job(round * 10 + 2)]];
            let producers = jobs.map(|jobs| beside(&pond, move |pond| pond.enqueue_many("q", jobs).wait().unwrap()));
            for producer in producers {
                producer.join().unwrap();
            }
            until_drained(&pond);
        }
        is_sound(&pond);
    });
}

#[test]
fn more_blocking_jobs_than_threads_all_run() {
    explore(|| {
        let disk = SimDisk::new();
        let builder = builder(&ManualClock::new()).blocking_threads(1);
        let pond = builder.open_backend_with(move || Ok(disk.clone())).unwrap();
        let ran = Arc::new(Mutex::new(Vec::new()));
        let log = ran.clone();
        let handler = move |job: Job<Bytes>| {
            thread::yield_now();
            log.lock().unwrap().push(job[0]);
            Ok(())
        };
        let _worker =
            pond.worker("q").concurrency(3).no_timeout().handle_blocking_raw("work", handler).start().unwrap();
        pond.enqueue_many("q", (0..4).map(job)).wait().unwrap();
        until_drained(&pond);
        let mut ran = ran.lock().unwrap().clone();
        ran.sort_unstable();
        assert_eq!(ran, [0, 1, 2, 3]);
        is_sound(&pond);
    });
}
