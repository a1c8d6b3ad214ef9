//! An engine that is full: the device waits, its queue fills, its producers are told, and nothing is lost or doubled.

use std::time::Duration;

use millpond::{Capacity, Error, QueueSettings};
use millpond_links::MemoryLog;

use crate::support::*;

#[tokio::test]
async fn behind_a_full_engine_the_queue_fills_producers_are_told_and_later_all_goes_through_once() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let settings = QueueSettings::default().capacity(Capacity::jobs(50));
    device.queue("readings").unwrap().configure(settings).await.unwrap();
    log.set_room(Some(20));
    let to_hub = forwarding(&device, &log).batch(10).start().await.unwrap();
    let mut accepted = Vec::new();
    // Until a producer is refused while nothing is sent.
    loop {
        let text = accepted.len().to_string();
        match device.enqueue("readings", reading(&text)).await {
            Ok(_) => accepted.push(text),
            Err(Error::QueueFull { queue, jobs, .. }) => {
                assert_eq!((queue.as_str(), jobs), ("readings", 50));
                break;
            }
            Err(other) => panic!("{other}"),
        }
        if accepted.len() == 20 {
            until(&to_hub, |state| state.jobs == 20).await;
            wait_until(|| device.queue("readings").unwrap().counts().completed_total == 20).await;
        }
    }
    assert_eq!(accepted.len(), 70);
    let error = until(&to_hub, |state| state.last_error.is_some()).await.last_error.unwrap();
    assert!(error.contains("it is full"), "{error}");

    // It backs off. The first pauses are 0.1, 0.2, 0.4 and 0.8 s.
    let (appends, commits) = (log.appends(), device.metrics().commits_total);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (appends, commits) = (log.appends() - appends, device.metrics().commits_total - commits);
    assert!((1..=6).contains(&appends) && commits <= appends * 12, "{appends} appends, {commits} commits");

    log.set_room(None);
    let from_device = receive(&hub, &log);
    let mut arrived = handled(&hub);
    let mut expected = accepted.clone();
    expected.sort();
    assert_eq!(next(&mut arrived, 70).await, expected);
    // What comes next arrives next, so nothing has come twice.
    enqueue(&device, &["last"]).await;
    assert_eq!(next(&mut arrived, 1).await, ["last"]);
    until(&from_device, |state| state.jobs == 71).await;
    until(&to_hub, |state| state.jobs == 71).await;
    assert_eq!(from_device.state().known, 0);
}
