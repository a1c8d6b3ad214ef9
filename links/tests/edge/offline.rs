//! What waits on a device while its link is down, and what is sent of it when it is back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millpond::testing::ManualClock;
use millpond::{Capacity, Counts, JobPatch, Millpond, Priority, QueueSettings, Unique, WhenFull};
use millpond_links::{Error, Fault, MemoryLog};

use crate::support::*;

fn counts(pond: &Millpond) -> Counts {
    pond.queue("readings").unwrap().counts()
}

/// The latest reading of each sensor, of payloads such as `3:17`.
fn latest(texts: &[String]) -> BTreeMap<u32, u32> {
    let readings = texts.iter().map(|text| text.split_once(':').unwrap());
    readings.map(|(sensor, n)| (sensor.parse().unwrap(), n.parse().unwrap())).collect()
}

async fn read_sensors(device: &Millpond, readings: std::ops::Range<u32>) {
    for n in readings {
        let sensor = n % 10;
        let reading = reading(&format!("{sensor}:{n}")).unique(format!("sensor {sensor}"), Unique::keep_latest());
        device.enqueue("readings", reading).await.unwrap();
    }
}

#[tokio::test]
async fn of_a_thousand_readings_of_ten_sensors_the_latest_ten_wait_and_are_sent() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.set_down(true);
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    read_sensors(&device, 0..1_000).await;
    assert_eq!(counts(&device).unfinished(), 10);
    log.set_down(false);
    until(&to_hub, |state| state.jobs == 10).await;
    assert_eq!(latest(&texts(&log)), (0..10).map(|sensor| (sensor, 990 + sensor)).collect());
}

/// A reading that was being sent when the link went down cannot be replaced, because the engine may have it: it goes before the latest one.
#[tokio::test]
async fn the_latest_reading_is_the_last_one_to_arrive_if_the_link_fails_while_it_sends() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([Fault::AnswerLost; 1].into_iter().chain([Fault::Unavailable; 5]));
    read_sensors(&device, 0..1_000).await;
    until(&to_hub, |_| counts(&device).unfinished() == 0).await;
    let sent = texts(&log);
    assert_eq!(latest(&sent), (0..10).map(|sensor| (sensor, 990 + sensor)).collect());
    let mut of_sensor: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (sensor, n) in sent.iter().map(|text| text.split_once(':').unwrap()) {
        of_sensor.entry(sensor).or_default().push(n.parse().unwrap());
    }
    assert!(of_sensor.values().all(|readings| readings.is_sorted()), "{of_sensor:?}");
}

#[tokio::test]
async fn a_queue_that_drops_its_oldest_jobs_keeps_the_latest_bytes_while_the_link_is_down() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.set_down(true);
    let device = open(dir.path(), "device.redb");
    let capacity = Capacity::UNLIMITED.bytes(32 << 10);
    let settings = QueueSettings::default().capacity(capacity).when_full(WhenFull::DropOldest);
    device.queue("readings").unwrap().configure(settings).await.unwrap();
    let to_hub = forward(&device, &log).await;
    for n in 0..1_000 {
        device.enqueue("readings", reading(&format!("{n:0100}"))).await.unwrap();
        assert!(counts(&device).bytes <= 32 << 10);
    }
    let Counts { pending, dropped_total, .. } = counts(&device);
    assert!(pending > 200 && pending + dropped_total == 1_000, "{:?}", counts(&device));
    log.set_down(false);
    until(&to_hub, |state| state.jobs == pending).await;
    let mut sent: Vec<u64> = texts(&log).iter().map(|text| text.parse().unwrap()).collect();
    sent.sort_unstable();
    assert!(sent.into_iter().eq(dropped_total..1_000), "the latest ones are sent");
}

#[tokio::test]
async fn the_newest_readings_are_sent_first_by_a_link_that_says_so() {
    for newest_first in [false, true] {
        let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
        log.set_down(true);
        let device = open(dir.path(), "device.redb");
        device.enqueue("readings", reading("0").priority(Priority::FIRST)).await.unwrap();
        device.enqueue_many("readings", (1..=100).map(|n| reading(&n.to_string()))).await.unwrap();
        let to_hub = forwarding(&device, &log).batch(10);
        let to_hub = if newest_first { to_hub.newest_first() } else { to_hub };
        let to_hub = to_hub.start().await.unwrap();
        until(&to_hub, |state| state.last_error.is_some()).await;
        log.set_down(false);
        until(&to_hub, |state| state.jobs == 101).await;
        let sent: Vec<u32> = texts(&log).iter().map(|text| text.parse().unwrap()).collect();
        let expected: Vec<u32> = if newest_first { (1..=100).rev().collect() } else { (1..=100).collect() };
        assert_eq!(sent[0], 0, "an urgent job goes first");
        assert_eq!(sent[1..], expected, "newest first: {newest_first}");
    }
}

#[tokio::test]
async fn what_has_expired_while_the_link_was_down_is_not_sent_and_is_counted() {
    let (dir, log, clock) = (tempfile::tempdir().unwrap(), MemoryLog::new(), ManualClock::new());
    let open = Millpond::builder().clock(clock.clone()).open(dir.path().join("device.redb"));
    let device = open.unwrap();
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.set_down(true);
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    // These are being sent when the link goes down, and wait in their queue again.
    for n in 0..20 {
        let job = reading(&n.to_string()).expires_in(minutes(if n % 2 == 0 { 1 } else { 10 }));
        device.enqueue("readings", job).await.unwrap();
    }
    until(&to_hub, |state| state.last_error.is_some()).await;
    clock.advance(minutes(2));
    wait_until(|| counts(&device).cancelled_total == 10).await;
    log.set_down(false);
    // The queue rests for a moment after each call that has failed, by the clock of the test.
    wait_until(|| {
        clock.advance(Duration::from_millis(1));
        to_hub.state().jobs == 10
    })
    .await;
    let expected: Vec<String> = (0..20).filter(|n| n % 2 == 1).map(|n| n.to_string()).collect();
    let mut sent = texts(&log);
    sent.sort_by_key(|text| text.parse::<u32>().unwrap());
    assert_eq!(sent, expected);
    assert_eq!(counts(&device).cancelled_total, 10);
}

#[tokio::test]
async fn a_link_sends_no_faster_than_its_limit_and_can_be_stopped_while_it_waits() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    for n in 0..10 {
        device.enqueue("readings", reading(&format!("{n:020000}"))).await.unwrap();
    }
    let begun = Instant::now();
    let to_hub = forwarding(&device, &log).bytes_per_second(200_000).start().await.unwrap();
    until(&to_hub, |state| state.jobs == 10).await;
    // More than 200,000 bytes, of which the last batch need not be paid for yet.
    let (took, sizes) = (begun.elapsed(), batch_sizes(&log));
    let all: usize = sizes.iter().sum();
    let paid = all - sizes.last().unwrap();
    assert!(took.as_secs_f64() >= paid as f64 / 200_000.0, "{took:?} for {paid} of {all} bytes");
    assert!(sizes.iter().all(|size| *size <= 200_000), "{sizes:?}");
    to_hub.stop().await;

    let to_hub = forwarding(&device, &log).bytes_per_second(1).start().await.unwrap();
    enqueue(&device, &["first", "second"]).await;
    until(&to_hub, |state| state.jobs == 1).await;
    // The second one would have to wait for minutes.
    let stopped = tokio::time::timeout(SOON, to_hub.stop()).await;
    stopped.expect("it does not wait until it may send");
    assert_eq!(counts(&device).unfinished(), 1);

    let refused = forwarding(&device, &log).bytes_per_second(0).start().await.unwrap_err();
    assert!(matches!(refused, Error::InvalidSetting { setting: "bytes_per_second", .. }), "{refused}");
}

/// The bytes of each batch in the log.
fn batch_sizes(log: &MemoryLog) -> Vec<usize> {
    let mut sizes = BTreeMap::new();
    for envelope in log.envelopes() {
        let (batch, _) = envelope.header("mp-batch").unwrap().split_once('/').unwrap();
        *sizes.entry(batch.parse::<u64>().unwrap()).or_default() += envelope.bytes();
    }
    sizes.into_values().collect()
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_kept_like_any_other() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let empty = log.snapshot();
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([Fault::AnswerLost]);
    enqueue(&device, &["a", "b"]).await;
    wait_until(|| counts(&device).completed_total == 2).await;
    assert!(to_hub.state().known > 0);
    log.go_back(&empty);
    enqueue(&device, &["c"]).await;
    wait_until(|| counts(&device).completed_total == 3).await;
    assert_eq!((to_hub.state().engine_went_back, to_hub.state().lost_batches), (1, 0));
    let (mut arrived, _from) = (handled(&hub), receive(&hub, &log));
    assert_eq!(next(&mut arrived, 3).await, ["a", "b", "c"]);
}

/// The engine has a batch, and the file does not know it. Meanwhile jobs of it get other contents under the same ids.
#[tokio::test]
async fn a_job_that_has_changed_while_its_batch_was_in_doubt_is_sent_as_it_is_now() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([Fault::AnswerLost].into_iter().chain([Fault::Unavailable; 1_000]));
    let keyed = |text: &str| reading(text).unique("sensor", Unique::until_ended().replace());
    let jobs = [keyed("replaced"), reading("changed"), reading("as it was")];
    let ids = device.enqueue_many("readings", jobs).await.unwrap();
    until(&to_hub, |state| !state.connected && state.last_error.is_some()).await;
    to_hub.stop().await;
    let other = device.enqueue("readings", keyed("replacement")).await.unwrap();
    assert_eq!(other.id, ids[0].id);
    device.update(ids[1], JobPatch::new().payload(reading("change"))).await.unwrap();

    let answers = MemoryLog::new();
    answers.go_back(&log.snapshot());
    let to_hub = forward(&device, &answers).await;
    wait_until(|| counts(&device).completed_total == 3).await;
    assert_eq!(texts(&answers), ["replaced", "changed", "as it was", "replacement", "change"]);
    assert_eq!((to_hub.state().known, to_hub.state().jobs), (3, 2));
}

/// A batch that was given up is still on its way, and gets there just before the one that is sent in its place.
#[tokio::test]
async fn a_batch_that_arrives_late_is_known_and_its_jobs_arrive_once() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([Fault::Late].into_iter().chain([Fault::Unavailable; 2]));
    enqueue(&device, &["a", "b"]).await;
    until(&to_hub, |state| state.last_error.is_some()).await;
    device.enqueue("readings", reading("urgent").priority(Priority::FIRST)).await.unwrap();
    wait_until(|| counts(&device).completed_total == 3).await;
    assert_eq!(texts(&log), ["a", "b", "urgent"]);
    let state = to_hub.state();
    assert_eq!((state.file_went_back, state.known, state.jobs), (0, 2, 1), "{state:?}");
}
