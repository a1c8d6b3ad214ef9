//! The clock of a receiver is wrong by an hour: what becomes of times that a job brings along.

use std::time::Duration;

use millpond::testing::ManualClock;
use millpond::{Clock, Millpond, State, Timestamp};
use millpond_links::MemoryLog;

use crate::support::*;

const MINUTE: Duration = Duration::from_secs(60);

/// A device, and a hub whose clock shows another time.
struct Skewed {
    dir: tempfile::TempDir,
    log: MemoryLog,
    device_clock: ManualClock,
    hub_clock: ManualClock,
    device: Millpond,
    hub: Millpond,
}

impl Skewed {
    fn new(hub_ahead: i64) -> Self {
        let (device_clock, hub_clock) = (ManualClock::new(), ManualClock::new());
        let at = hub_clock.wall().as_millis() as i64 + hub_ahead * HOUR.as_millis() as i64;
        hub_clock.set_wall(Timestamp::from_millis(at as u64));
        let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
        let open = |name: &str, clock: &ManualClock| {
            Millpond::builder().clock(clock.clone()).open(dir.path().join(name)).unwrap()
        };
        let (device, hub) = (open("device.redb", &device_clock), open("hub.redb", &hub_clock));
        Self { dir, log, device_clock, hub_clock, device, hub }
    }
}

#[tokio::test]
async fn an_expiry_is_a_time_of_the_receivers_clock() {
    // Half an hour, three hours: which of the two jobs runs on a hub that is so many hours ahead.
    for (ahead, runs) in [(1, vec!["long"]), (0, vec!["long", "short"]), (-1, vec!["long", "short"])] {
        let s = Skewed::new(ahead);
        let short = reading("short").expires_in(30 * MINUTE);
        let expires_at = s.device_clock.wall() + 30 * MINUTE;
        s.device.enqueue("readings", short).await.unwrap();
        s.device.enqueue("readings", reading("long").expires_in(180 * MINUTE)).await.unwrap();
        let (to_hub, from_device) = (forward(&s.device, &s.log).await, receive(&s.hub, &s.log));
        until(&from_device, |state| state.jobs == 2).await;
        let mut arrived = handled(&s.hub);
        assert_eq!(next(&mut arrived, runs.len()).await, runs, "{ahead} hours ahead");
        let counts = || s.hub.queue("readings").unwrap().counts();
        wait_until(|| counts().unfinished() == 0).await;
        assert_eq!(counts().cancelled_total, 2 - runs.len() as u64, "{ahead} hours ahead");
        // The time is the device's, unchanged.
        let page = s.hub.jobs(&millpond::JobFilter::new().queue("readings").state(State::Cancelled), None, 10).unwrap();
        assert!(page.jobs.iter().all(|job| job.expires_at == Some(expires_at)));
        to_hub.stop().await;
        drop(s.dir);
    }
}

#[tokio::test]
async fn a_job_is_sent_when_it_is_due_by_the_senders_clock_and_runs_at_once() {
    for ahead in [1, -1] {
        let s = Skewed::new(ahead);
        s.device.enqueue("readings", reading("due").delay(10 * MINUTE)).await.unwrap();
        let (to_hub, _from) = (forward(&s.device, &s.log).await, receive(&s.hub, &s.log));
        let mut arrived = handled(&s.hub);
        until(&to_hub, |state| state.connected).await;
        s.hub_clock.advance(HOUR);
        enqueue(&s.device, &["now"]).await;
        assert_eq!(next(&mut arrived, 1).await, ["now"], "the other one is not due");
        s.device_clock.advance(10 * MINUTE);
        assert_eq!(next(&mut arrived, 1).await, ["due"]);
        to_hub.stop().await;
    }
}

/// A device without a clock of its own that shows the right time only later.
#[tokio::test]
async fn a_clock_that_is_set_while_the_link_is_down_expires_nothing_early_on_the_device() {
    let s = Skewed::new(0);
    s.device_clock.set_wall(Timestamp::from_millis(60_000));
    s.log.set_down(true);
    let to_hub = forward(&s.device, &s.log).await;
    s.device.enqueue("readings", reading("a").expires_in(10 * MINUTE)).await.unwrap();
    s.device_clock.set_wall(s.hub_clock.wall());
    s.device_clock.advance(MINUTE);
    s.log.set_down(false);
    until(&to_hub, |state| state.jobs == 1).await;
    assert_eq!(texts(&s.log), ["a"]);
    // But it says when it expires by the clock of its enqueue, which was wrong, so the hub does not run it.
    let from_device = receive(&s.hub, &s.log);
    until(&from_device, |state| state.jobs == 1).await;
    wait_until(|| s.hub.queue("readings").unwrap().counts().cancelled_total == 1).await;
}
