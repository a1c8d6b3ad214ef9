//! An enqueue at the same time as the completion of the job before it in the group: the second of the two must see the
//! first, or the new head never starts.

use millpond::testing::ManualClock;
use millpond::{CancelOutcome, Error, State};
use millpond_testkit::SimDisk;
use shuttle::thread;

use crate::support::{beside, explore, is_sound, job, noting, open, until_drained};

#[test]
fn an_enqueue_beside_a_completion_in_its_group_is_started() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let (_worker, ran) = noting(&pond, "q", 2);
        let producers: Vec<_> = [1, 2]
            .map(|first| {
                let pond = pond.clone();
                thread::spawn(move || {
                    for n in [first, first + 10] {
                        pond.enqueue("q", job(n).group("g")).wait().unwrap();
                    }
                })
            })
            .into_iter()
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        ran.wait_for(4);
        until_drained(&pond);
        let ran = ran.so_far();
        let at = |n| ran.iter().position(|&ran| ran == n);
        assert_eq!(ran.len(), 4, "each runs once: {ran:?}");
        assert!(at(1) < at(11) && at(2) < at(12), "in the order they were answered: {ran:?}");
        is_sound(&pond);
    });
}

#[test]
fn a_cancel_beside_the_start_and_the_end_of_a_job_has_one_outcome() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let (_worker, ran) = noting(&pond, "q", 1);
        let ids = [1, 2].map(|n| pond.enqueue("q", job(n).group("g")).wait().unwrap());
        let canceller = beside(&pond, move |pond| ids.map(|id| pond.cancel(id, "on second thoughts").wait()));
        let outcomes = canceller.join().unwrap();
        until_drained(&pond);
        let ran = ran.so_far();
        for ((n, id), outcome) in [1, 2].into_iter().zip(ids).zip(outcomes) {
            let has_run = ran.contains(&n);
            let is_cancelled = pond.job(id).is_ok_and(|job| job.state == State::Cancelled);
            let fits = match outcome {
                Ok(CancelOutcome::Cancelled) => is_cancelled && !has_run,
                Ok(CancelOutcome::Requested) => is_cancelled || has_run,
                // It had completed, and is not kept.
                Err(Error::NoSuchJob { .. }) => has_run && !is_cancelled,
                _ => false,
            };
            assert!(fits, "job {n}: {outcome:?}, cancelled {is_cancelled}, ran {ran:?}");
        }
        is_sound(&pond);
    });
}

#[test]
fn a_wait_beside_the_end_of_its_job_is_answered() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let (_worker, _ran) = noting(&pond, "q", 1);
        let id = pond.enqueue("q", job(1)).wait().unwrap();
        let waiter = beside(&pond, move |pond| pond.finished(id).wait());
        let ended = pond.enqueue_and_wait("q", job(2)).wait().unwrap();
        assert_eq!(ended.state, State::Completed);
        match waiter.join().unwrap() {
            Ok(job) => assert_eq!(job.state, State::Completed),
            // It had ended before the wait began, and is not kept.
            Err(error) => assert!(matches!(error, Error::NoSuchJob { .. }), "{error:?}"),
        }
        until_drained(&pond);
        is_sound(&pond);
    });
}

#[test]
fn a_pause_of_a_group_beside_its_completions_holds_the_rest_back_until_a_resume() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        pond.enqueue_many("q", (1..=3).map(|n| job(n).group("g"))).wait().unwrap();
        let (_worker, ran) = noting(&pond, "q", 2);
        let operator = {
            let pond = pond.clone();
            thread::spawn(move || {
                let queue = pond.queue("q").unwrap();
                queue.pause_group("g").wait().unwrap();
                queue.resume_group("g").wait().unwrap();
            })
        };
        operator.join().unwrap();
        assert_eq!(ran.wait_for(3), [1, 2, 3]);
        until_drained(&pond);
        is_sound(&pond);
    });
}
