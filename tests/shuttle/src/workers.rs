//! A new worker takes over a queue while a job is being handed to the old one.

use std::sync::Arc;

use millpond::testing::ManualClock;
use millpond_testkit::SimDisk;

use crate::support::{Ran, explore, is_sound, job, noting_into, open, until_drained};

#[test]
fn a_job_that_was_being_handed_to_a_stopped_worker_goes_to_the_next_one() {
    explore(|| {
        let pond = open(&SimDisk::new(), &ManualClock::new());
        pond.enqueue_many("q", (1..=4).map(job)).wait().unwrap();
        let ran: Arc<Ran> = Arc::default();
        for _ in 0..3 {
            noting_into(&pond, "q", 1, &ran).stop();
        }
        let _last = noting_into(&pond, "q", 1, &ran);
        assert_eq!(ran.wait_for(4), [1, 2, 3, 4]);
        until_drained(&pond);
        is_sound(&pond);
    });
}
