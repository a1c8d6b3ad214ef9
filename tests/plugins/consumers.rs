//! Plugins as the handlers of consumers: what they are told of an entry, the order of keys, failures, and transforms, which append what
//! they make of an entry to another stream exactly once.

use std::collections::BTreeMap;

use millpond::testing::ManualClock;
use millpond::{
    Entry, EntryOrder, Error, Grant, JobFilter, JobInfo, Millpond, NewJob, Plugin, Retry, Start, State, Worker,
};
use millpond_testkit::{Image, each_power_cut};

use super::built::{file, from_bytes, hostile};
use super::guest::{NOTHING, plugin};
use crate::support::*;

/// Copies entries into the stream `out`.
fn copier() -> Plugin {
    hostile("streams_as_told").grant(Grant::append("copy").to_stream("out"))
}

/// Starts a consumer of the stream `in` with this plugin.
async fn start(pond: &Millpond, order: EntryOrder, plugin: Plugin) -> Worker {
    let consumer = pond.consumer("in", "copy").from(Start::Earliest).order(order).concurrency(4);
    let consumer = consumer.retry(Retry::fixed(SECOND).jitter(0.0).max_attempts(2));
    consumer.worker(|worker| worker.handle_wasm("job", plugin)).start().await.unwrap()
}

fn entry(key: &str, lines: &str) -> NewJob {
    NewJob::raw("job", lines.to_owned()).group(key)
}

/// The entries of `out`.
fn copies(pond: &Millpond) -> Vec<Entry> {
    match pond.stream("out").unwrap().read(0, 10_000) {
        Ok(entries) => entries,
        Err(Error::NoSuchStream { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// Which entries of `in` were copied, by key, in the order of the copies.
fn copied(pond: &Millpond) -> BTreeMap<Option<String>, Vec<u64>> {
    let mut copied: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for copy in copies(pond) {
        let source: String = serde_json::from_slice(&copy.payload.bytes).unwrap();
        let offset = source.strip_prefix("in ").unwrap().parse().unwrap();
        copied.entry(copy.key).or_default().push(offset);
    }
    copied
}

fn of(key: &str) -> Option<String> {
    Some(key.to_owned())
}

fn jobs(pond: &Millpond) -> Vec<JobInfo> {
    pond.jobs(&JobFilter::new().queue("in:copy"), None, 100).unwrap().jobs
}

/// What a plugin is told of its entry. It fails, so that what it logs is kept: it tells it as the reason.
async fn told(order: EntryOrder, entry: NewJob) -> Vec<String> {
    let (_, pond) = memory();
    let keeps = millpond::Retention::default().completed(millpond::Keep::new(HOUR, 10));
    pond.queue("in:copy").unwrap().configure(millpond::QueueSettings::default().retention(keeps)).await.unwrap();
    start(&pond, order, copier()).await;
    pond.stream("in").unwrap().append(NewJob::raw("job", "copy\tout")).await.unwrap();
    pond.stream("in").unwrap().append(entry).await.unwrap();
    drained(&pond).await;
    let jobs = jobs(&pond);
    let second = jobs.iter().find(|job| job.entry.as_ref().is_some_and(|entry| entry.offset == 1)).unwrap();
    second.result_json().unwrap().unwrap()
}

#[tokio::test]
async fn a_plugin_is_told_which_entry_it_has() {
    let entry = || NewJob::raw("job", "entry").group("k").header("tenant", "ada");
    let with_key = r#"in 1 Some("k") {"tenant": "ada"}"#;
    let without = r#"in 1 None {"tenant": "ada"}"#;
    assert_eq!(told(EntryOrder::ByKey, entry()).await, [with_key]);
    assert_eq!(told(EntryOrder::Total, entry()).await, [without], "it is not handled by its key");
    assert_eq!(told(EntryOrder::None, entry()).await, [without]);
    assert_eq!(told(EntryOrder::ByKey, NewJob::raw("job", "entry")).await, ["in 1 None {}"]);
}

#[tokio::test]
async fn a_plugin_whose_job_is_no_entry_is_told_so() {
    let (_, pond) = memory();
    pond.worker("q").handle_wasm("job", copier()).start().unwrap();
    let job = pond.enqueue_and_wait("q", NewJob::raw("job", "entry").group("k")).await.unwrap();
    assert_eq!(job.result_json::<Vec<String>>().unwrap().unwrap(), ["none"]);
}

#[tokio::test]
async fn the_entries_of_a_key_are_transformed_in_order() {
    let (_, pond) = memory();
    let entries = (0..60).map(|n| entry(&format!("k{}", n % 3), "copy\tout"));
    pond.stream("in").unwrap().append_many(entries).await.unwrap();
    start(&pond, EntryOrder::ByKey, copier()).await;
    drained(&pond).await;
    let expected = |key: u64| (0..60).filter(|n| n % 3 == key).collect::<Vec<u64>>();
    let expected = [(of("k0"), expected(0)), (of("k1"), expected(1)), (of("k2"), expected(2))];
    assert_eq!(copied(&pond), BTreeMap::from(expected));
    assert_eq!(pond.stream("in").unwrap().consumer("copy").unwrap().info().unwrap().behind, 0);
}

#[tokio::test]
async fn an_entry_that_fails_is_retried_and_its_key_waits() {
    let (clock, pond) = memory();
    start(&pond, EntryOrder::ByKey, copier()).await;
    let lines = [("a", "copy\tout\nfail\t1"), ("a", "copy\tout"), ("b", "copy\tout")];
    pond.stream("in").unwrap().append_many(lines.map(|(key, lines)| entry(key, lines))).await.unwrap();
    drained(&pond).await;
    assert_eq!(copied(&pond), BTreeMap::from([(of("b"), vec![2])]), "what the failed attempt has appended is dropped");
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(copied(&pond), BTreeMap::from([(of("a"), vec![0, 1]), (of("b"), vec![2])]));
    assert!(jobs(&pond).iter().all(|job| job.state != State::Dead));
}

#[tokio::test]
async fn an_entry_that_fails_for_good_is_a_dead_letter_with_its_stream_and_offset() {
    for (fails, attempts) in [("fail\t9", 2), ("dead-letter", 1), ("trap", 2)] {
        let (clock, pond) = memory();
        start(&pond, EntryOrder::ByKey, copier()).await;
        let failing = format!("copy\tout\n{fails}");
        let lines = [("b", "copy\tout"), ("a", &failing), ("a", "copy\tout")];
        pond.stream("in").unwrap().append_many(lines.map(|(key, lines)| entry(key, lines))).await.unwrap();
        drained(&pond).await;
        clock.advance(SECOND);
        drained(&pond).await;
        assert_eq!(copied(&pond), BTreeMap::from([(of("a"), vec![2]), (of("b"), vec![0])]), "{fails}: the key goes on");
        let dead = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs;
        let [dead] = &dead[..] else { panic!("{fails}: {dead:?}") };
        let entry = dead.entry.as_ref().unwrap();
        assert_eq!((&*entry.stream, entry.offset, dead.attempts), ("in", 1, attempts), "{fails}");
        assert_eq!(pond.stream("in").unwrap().consumer("copy").unwrap().info().unwrap().dead, 1);
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_redriven_knows_its_entry() {
    let (clock, pond) = memory();
    start(&pond, EntryOrder::ByKey, copier()).await;
    pond.stream("in").unwrap().append(entry("a", "copy\tout\nfail\t2")).await.unwrap();
    drained(&pond).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let dead = pond.dead_letters().list(&JobFilter::new(), None, 10).unwrap().jobs;
    assert!(copies(&pond).is_empty());
    pond.dead_letters().edit(dead[0].id, NewJob::raw("job", "copy\tout")).await.unwrap();
    pond.dead_letters().redrive(dead[0].id).await.unwrap();
    drained(&pond).await;
    assert_eq!(copied(&pond), BTreeMap::from([(of("a"), vec![0])]));
}

#[tokio::test]
async fn a_guest_of_an_older_version_handles_entries() {
    for name in ["everything-0.1.0", "everything-0.1.1", "everything-0.1.2"] {
        let (_, pond) = memory();
        let guest = from_bytes(file(&format!("tests/guests/evolution/{name}.wasm"))).config("setting", "as set");
        let grant = |kind: &str| Grant::enqueue(kind).to_queue("follow-ups");
        let guest = guest.grant(grant("follow-up")).grant(grant("newer")).grant(Grant::rate_limit());
        start(&pond, EntryOrder::ByKey, guest).await;
        pond.stream("in").unwrap().append(entry("a", "payload")).await.unwrap();
        drained(&pond).await;
        assert_eq!(pond.queue("in:copy").unwrap().counts().completed_total, 1, "{name}");
        assert!(pond.queue("follow-ups").unwrap().counts().enqueued_total > 0, "{name}");
    }
}

#[tokio::test]
async fn a_new_version_of_a_transform_goes_on_where_the_old_one_was() {
    let (_, pond) = memory();
    let worker = start(&pond, EntryOrder::ByKey, plugin(NOTHING)).await;
    let stream = pond.stream("in").unwrap();
    stream.append_many([entry("a", "copy\tout"), entry("a", "copy\tout")]).await.unwrap();
    drained(&pond).await;
    assert!(copies(&pond).is_empty());
    worker.stop().await.unwrap();
    start(&pond, EntryOrder::ByKey, copier()).await;
    stream.append(entry("a", "copy\tout")).await.unwrap();
    drained(&pond).await;
    assert_eq!(copied(&pond), BTreeMap::from([(of("a"), vec![2])]));
}

fn open(disk: &SimDisk) -> Millpond {
    let builder = Millpond::builder().clock(ManualClock::new()).seed(0).cache_bytes(1 << 20);
    builder.open_backend(disk.clone()).unwrap()
}

/// After a power cut at any moment the copies are those of the entries that the consumer is done with, and after it has gone on there is
/// one of each entry.
#[tokio::test]
async fn a_transform_is_exactly_once_whenever_the_power_is_cut() {
    let empty = OnDisk::new();
    close(empty.open()).await;
    let before = Image::new(std::fs::read(empty.path()).unwrap());
    let disk = SimDisk::holding(before.clone()).recorded();
    let (pond, copier) = (open(&disk), copier());
    start(&pond, EntryOrder::ByKey, copier.clone()).await;
    for round in 0..3 {
        let entries = (0..3).map(|n| match (round, n) {
            (1, 0) => entry("b", "copy\tout\ndead-letter"),
            _ => entry(["a", "b"][n % 2], "copy\tout"),
        });
        pond.stream("in").unwrap().append_many(entries.collect::<Vec<_>>()).await.unwrap();
        drained(&pond).await;
    }
    close(pond).await;

    let mut images = Vec::new();
    each_power_cut(before, &disk.take_log(), 7, |at, image| images.push((at, image)));
    let mut seen = std::collections::BTreeSet::new();
    for (n, (at, image)) in images.into_iter().enumerate() {
        let after = open(&SimDisk::holding(image));
        let completed = after.queue("in:copy").unwrap().counts().completed_total;
        assert_eq!(copies(&after).len() as u64, completed, "operation {at}, image {n}");
        if seen.insert(completed) || n % 50 == 0 {
            start(&after, EntryOrder::ByKey, copier.clone()).await;
            drained(&after).await;
            let mut offsets: Vec<u64> = copied(&after).into_values().flatten().collect();
            offsets.sort_unstable();
            let there = after.stream("in").unwrap().info().unwrap().next;
            let expected: Vec<u64> = (0..there).filter(|offset| *offset != 3).collect();
            assert_eq!(offsets, expected, "operation {at}, image {n}");
            assert!(copied(&after).into_values().all(|offsets| offsets.is_sorted()), "operation {at}, image {n}");
        }
        close(after).await;
    }
    assert!(seen.contains(&0) && seen.len() > 3, "before, after and between: {seen:?}");
}
