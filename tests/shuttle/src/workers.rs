//! A worker that takes over a queue while the one before it is being given a job.

use std::sync::Arc;

use millpond::testing::ManualClock;
use millpond_testkit::SimDisk;

use crate::support::{Ran, explore, is_sound, job, noting_into, open, until_drained};

#[test]
fn what_a_stopped_worker_was_just_being_given_goes_to_the_next_one() {
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
