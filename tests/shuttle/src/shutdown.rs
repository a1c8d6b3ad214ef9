//! A shutdown at the same time as other calls: every call is answered, acknowledged jobs are stored when the file is
//! opened again, and no job that ended runs once more.

use std::time::Duration;

use millpond::Error;
use millpond::testing::ManualClock;
use millpond_testkit::SimDisk;
use shuttle::thread;

use crate::support::{beside, explore, is_sound, job, noting, open, waiting};

#[test]
fn a_shutdown_beside_producers_and_handlers_loses_nothing() {
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        let (_worker, ran) = noting(&pond, "q", 2);
        let producers: Vec<_> = (0..2)
            .map(|first| {
                let pond = pond.clone();
                thread::spawn(move || {
                    let answered = (0..2).map(|n| first * 10 + n).filter(|&n| match pond.enqueue("q", job(n)).wait() {
                        Ok(_) => true,
                        Err(Error::Closed) => false,
                        Err(error) => panic!("{error}"),
                    });
                    answered.collect::<Vec<_>>()
                })
            })
            .collect();
        let listener = {
            let mut events = pond.events();
            thread::spawn(move || {
                let mut completed = 0;
                while let Some(event) = events.next_blocking().unwrap() {
                    completed += u32::from(matches!(event, Ok(millpond::Event::Completed { .. })));
                }
                completed
            })
        };
        let stopper = beside(&pond, move |pond| pond.shutdown(Duration::from_secs(1)).wait().unwrap());
        let mut acknowledged: Vec<u8> = producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        stopper.join().unwrap();
        let completed = listener.join().unwrap();
        drop(pond);
        // The attempts that were given up end as well: a schedule must not end in the middle of one.
        while std::sync::Arc::strong_count(&ran) > 1 {
            shuttle::thread::yield_now();
        }
        let ran = ran.so_far();

        let again = open(&disk, &clock);
        let left = waiting(&again);
        acknowledged.sort_unstable();
        for n in acknowledged {
            assert!(ran.contains(&n) || left.contains(&n), "job {n} is lost: ran {ran:?}, left {left:?}");
        }
        let ended = ran.iter().filter(|n| !left.contains(n)).count();
        assert!(completed as usize <= ended, "{completed} were reported as done, {ended} are");
        is_sound(&again);
    });
}

#[test]
fn two_shutdowns_and_a_drop_at_once_are_all_answered() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        pond.enqueue("q", job(1)).wait().unwrap();
        let (_worker, _ran) = noting(&pond, "q", 1);
        let stoppers: Vec<_> =
            (0..2).map(|_| beside(&pond, move |pond| pond.shutdown(Duration::ZERO).wait().unwrap())).collect();
        drop(pond);
        for stopper in stoppers {
            stopper.join().unwrap();
        }
    });
}
