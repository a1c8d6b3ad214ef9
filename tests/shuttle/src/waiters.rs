//! Every call that waits for a writer is answered when the writer dies.

use millpond::testing::ManualClock;
use millpond::{Capacity, Error, QueueSettings, WhenFull};
use millpond_testkit::SimDisk;
use shuttle::thread;

use crate::support::{beside, explore, is_sound, job, noting, open, until_drained};

#[test]
fn a_waiter_beside_a_dying_writer_is_answered() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
        pond.queue("full").unwrap().configure(settings).wait().unwrap();
        pond.enqueue("full", job(0)).wait().unwrap();
        let for_room = beside(&pond, move |pond| pond.enqueue("full", job(1)).wait());
        let for_commit = beside(&pond, move |pond| pond.transaction(|tx| Ok(tx.enqueue("q", job(2))?)).wait());
        let for_lease = {
            let pond = pond.clone();
            thread::spawn(move || {
                let mut tx = pond.begin_write()?;
                tx.enqueue("q", job(3))?;
                tx.commit()
            })
        };
        let stop = pond.shutdown(std::time::Duration::ZERO);
        stop.wait().unwrap();
        let for_room = for_room.join().unwrap().unwrap_err();
        assert!(matches!(for_room, Error::Closed | Error::WriteHeld { .. } | Error::Degraded { .. }), "{for_room:?}");
        // Any wait for a guard can end at any moment.
        let is_answer =
            |error: &Error| matches!(error, Error::Closed | Error::WriteHeld { .. } | Error::Degraded { .. });
        assert!(for_commit.join().unwrap().err().is_none_or(|error| is_answer(&error)));
        assert!(for_lease.join().unwrap().err().is_none_or(|error| is_answer(&error)));
    });
}

#[test]
fn a_call_that_waits_for_room_is_admitted_when_there_is_room() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        let settings = QueueSettings::default().capacity(Capacity::jobs(1)).when_full(WhenFull::Wait);
        pond.queue("full").unwrap().configure(settings).wait().unwrap();
        let producers: Vec<_> =
            (0..3).map(|n| beside(&pond, move |pond| pond.enqueue("full", job(n)).wait().unwrap())).collect();
        let (_worker, ran) = noting(&pond, "full", 1);
        for producer in producers {
            producer.join().unwrap();
        }
        ran.wait_for(3);
        until_drained(&pond);
        assert_eq!(ran.so_far().len(), 3);
        is_sound(&pond);
    });
}
