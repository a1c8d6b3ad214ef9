//! The file is opened again while producers and handlers run: each answer is true afterwards.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond::Error;
use millpond::testing::ManualClock;
use millpond_testkit::{Fault, SimDisk};
use shuttle::thread;

use crate::support::{explore, is_sound, job, noting, open, until_drained};

#[test]
fn each_answer_beside_a_reopening_is_true() {
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let (disk, clock) = (SimDisk::new(), ManualClock::new());
        let pond = open(&disk, &clock);
        pond.enqueue("q", job(100)).wait().unwrap();
        let (_worker, ran) = noting(&pond, "q", 2);
        let producers: Vec<_> = (0..2)
            .map(|first| {
                let pond = pond.clone();
                thread::spawn(move || {
                    let answers = (0..3).map(|n| first * 10 + n).map(|n| (n, pond.enqueue("q", job(n)).wait()));
                    answers.collect::<Vec<_>>()
                })
            })
            .collect();
        let breaker = {
            let (disk, clock) = (disk.clone(), clock.clone());
            thread::spawn(move || {
                disk.fail(Fault::SYNC);
                thread::yield_now();
                disk.repair();
                clock.advance(Duration::from_secs(10));
            })
        };
        breaker.join().unwrap();
        let answers: Vec<_> = producers.into_iter().flat_map(|producer| producer.join().unwrap()).collect();
        // The queue heals after every failure: each attempt is made when it is due.
        while pond.enqueue("q", job(200)).wait().is_err() {
            clock.advance(Duration::from_secs(10));
            thread::yield_now();
        }
        until_drained(&pond);
        let ran = ran.so_far();
        for (n, answer) in answers {
            let times = ran.iter().filter(|&&ran| ran == n).count();
            match answer {
                Ok(_) => assert_eq!(times, 1, "job {n} was acknowledged: {ran:?}"),
                Err(Error::OutcomeUnknown { .. }) => assert!(times <= 1, "job {n}: {ran:?}"),
                Err(_) => {
                    REFUSED.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(times, 0, "job {n} was refused: {ran:?}");
                }
            }
        }
        is_sound(&pond);
    });
    assert!(REFUSED.load(Ordering::Relaxed) > 0, "no call ever came while the file was being opened again");
}
