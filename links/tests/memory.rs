//! Links over an engine in memory that fails in all ways.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millpond::{Codec, Job, Millpond, NewJob, Payload, Priority, State};
use millpond_links::{Envelope, Fault, Forward, Link, LinkState, Mailbox, MemoryLog, Receive, conformance};
use millpond_links_testkit::{SOON, hub, open, until};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const HOUR: Duration = Duration::from_secs(3_600);

async fn forward(pond: &Millpond, log: &MemoryLog) -> Link {
    Forward::new(pond, "readings", log, hub()).linger(Duration::from_millis(1)).start().await.unwrap()
}

fn receive(pond: &Millpond, log: &MemoryLog) -> Link {
    Receive::new(pond, "readings", log, hub()).start().unwrap()
}

/// A worker for everything that arrives, and what it has handled.
fn handled(pond: &Millpond) -> UnboundedReceiver<(String, String)> {
    let (sent, handled) = unbounded_channel();
    let worker = pond.worker("readings").handle_any(move |job: Job<Payload>| {
        let text = String::from_utf8(job.bytes.to_vec()).unwrap();
        let _ = sent.send((job.group().unwrap_or_default().to_owned(), text));
        async { Ok(()) }
    });
    worker.start().unwrap();
    handled
}

async fn next(handled: &mut UnboundedReceiver<(String, String)>) -> (String, String) {
    tokio::time::timeout(SOON, handled.recv()).await.expect("it arrives").expect("the worker runs")
}

async fn close(pond: Millpond) {
    pond.shutdown(HOUR).await.unwrap();
}

async fn enqueue(pond: &Millpond, texts: impl IntoIterator<Item = u32>) {
    let jobs = texts.into_iter().map(|n| NewJob::raw("reading", n.to_string()).group(format!("g{}", n % 5)));
    pond.enqueue_many("readings", jobs).await.unwrap();
}

#[tokio::test]
async fn the_engine_in_memory_is_one_on_which_links_can_rely() {
    conformance::check(&MemoryLog::new()).await;
    conformance::check_leases(&MemoryLog::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_job_arrives_once_and_in_the_order_of_its_group_whatever_fails() {
    // Most of the time is spent waiting, so several seeds run at once.
    for first in (0..12).step_by(4) {
        let mut seeds = tokio::task::JoinSet::new();
        (first..first + 4).for_each(|seed| drop(seeds.spawn(faults_of(seed))));
        while let Some(ended) = seeds.join_next().await {
            ended.unwrap();
        }
    }
}

async fn faults_of(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.fail_one_in(rng.u32(4..10), seed);
    let hub = open(dir.path(), "hub.redb");
    let mut arrived = handled(&hub);
    let mut from_device = receive(&hub, &log);
    let mut device = open(dir.path(), "device.redb");
    let mut to_hub = forward(&device, &log).await;
    let count = 400;
    for first in (0..count).step_by(20) {
        enqueue(&device, first..first + 20).await;
        match rng.u8(0..5) {
            0 => {
                to_hub.stop().await;
                close(device).await;
                device = open(dir.path(), "device.redb");
                to_hub = forward(&device, &log).await;
            }
            1 => {
                from_device.stop().await;
                from_device = receive(&hub, &log);
            }
            2 => {
                log.set_down(true);
                tokio::task::yield_now().await;
                log.set_down(false);
            }
            _ => {}
        }
    }
    let mut by_group: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for _ in 0..count {
        let (group, text) = next(&mut arrived).await;
        by_group.entry(group).or_default().push(text.parse().unwrap());
    }
    log.fail_one_in(0, 0);
    // A job behind all others comes next, so nothing has come twice.
    enqueue(&device, [count]).await;
    assert_eq!(next(&mut arrived).await.1, count.to_string(), "seed {seed}");
    for (group, numbers) in &by_group {
        let first: u32 = group[1..].parse().unwrap();
        let expected: Vec<u32> = (first..count).step_by(5).collect();
        assert_eq!(*numbers, expected, "seed {seed}, group {group}");
    }
    until(&to_hub, |state| state.connected).await;
    let state = to_hub.state();
    assert_eq!((state.engine_went_back, state.file_went_back, state.lost_batches), (0, 0, 0), "seed {seed}");
    assert_eq!(device.queue("readings").unwrap().counts().dead, 0, "seed {seed}");
}

#[tokio::test]
async fn a_lost_answer_is_found_by_the_cursor_and_nothing_is_sent_twice() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    log.fail_next([Fault::AnswerLost]);
    enqueue(&device, 0..5).await;
    let state = until(&to_hub, |state| state.known > 0).await;
    assert_eq!(state.known + state.jobs, 5);
    let ids: Vec<_> = log.envelopes().iter().map(|envelope| envelope.header("ce-id").unwrap().to_owned()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_before_a_restart_is_not_sent_again() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.connected).await;
    // The answer is lost, and the engine does not answer any more.
    log.fail_next([Fault::AnswerLost].into_iter().chain([Fault::Unavailable; 1_000]));
    enqueue(&device, 0..5).await;
    until(&to_hub, |state| !state.connected && state.last_error.is_some()).await;
    to_hub.stop().await;
    close(device).await;

    let answers = MemoryLog::new();
    answers.go_back(&log.snapshot());
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &answers).await;
    until(&to_hub, |state| state.known + state.jobs == 5).await;
    let done = async {
        while device.queue("readings").unwrap().counts().completed_total < 5 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, done).await.unwrap();
    assert_eq!(answers.envelopes().len(), 5);
}

#[tokio::test]
async fn what_the_engine_has_lost_is_sent_again_and_arrives_once() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let (to_hub, mut arrived) = (forward(&device, &log).await, handled(&hub));
    enqueue(&device, 0..5).await;
    until(&to_hub, |state| state.jobs == 5).await;
    let older = log.snapshot();
    // Two batches: the receiver gets the first one before the engine loses both.
    enqueue(&device, 5..6).await;
    until(&to_hub, |state| state.jobs == 6).await;
    let from_device = receive(&hub, &log);
    for _ in 0..6 {
        next(&mut arrived).await;
    }
    enqueue(&device, 6..7).await;
    until(&to_hub, |state| state.jobs == 7).await;
    from_device.stop().await;
    log.go_back(&older);
    // The next batch finds another cursor than it expects.
    enqueue(&device, 7..8).await;
    let state = until(&to_hub, |state| state.jobs == 8).await;
    assert_eq!((state.engine_went_back, state.lost_batches), (1, 0));
    let from_device = receive(&hub, &log);
    let mut rest: Vec<String> = Vec::new();
    while !rest.contains(&"7".to_owned()) {
        rest.push(next(&mut arrived).await.1);
    }
    rest.sort();
    // 6 had been read or not when the link was stopped; 0 to 5 are not handled again.
    assert!(rest == ["6", "7"] || rest == ["7"], "{rest:?}");
    assert_eq!(hub.queue("readings").unwrap().counts().enqueued_total, 8);
    from_device.stop().await;
}

#[tokio::test]
async fn an_older_copy_of_the_file_says_so_and_loses_nothing() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let (to_hub, mut arrived, _from) = (forward(&device, &log).await, handled(&hub), receive(&hub, &log));
    enqueue(&device, 0..2).await;
    until(&to_hub, |state| state.jobs == 2).await;
    device.backup(dir.path().join("copy.redb")).await.unwrap();
    enqueue(&device, 2..4).await;
    until(&to_hub, |state| state.jobs == 4).await;
    to_hub.stop().await;
    close(device).await;

    // Its ids 3 and 4 are given to other jobs. Taken for those that were sent, they would be lost.
    let copy = open(dir.path(), "copy.redb");
    enqueue(&copy, 10..12).await;
    let to_hub = forward(&copy, &log).await;
    let state = until(&to_hub, |state| state.jobs == 2).await;
    assert_eq!(state.file_went_back, 1);
    let mut texts = Vec::new();
    for _ in 0..6 {
        texts.push(next(&mut arrived).await.1.parse::<u32>().unwrap());
    }
    texts.sort_unstable();
    assert_eq!(texts, [0, 1, 2, 3, 10, 11]);
}

#[tokio::test]
async fn what_a_job_says_arrives_with_it() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let job = NewJob::json("reading", &serde_json::json!({ "°C": 21.5 }))
        .priority(Priority::new(2).unwrap())
        .group("room 7\r\nInjected: yes — 100 %")
        .max_attempts(3)
        .tags(["a,b", "ü"])
        .header("trace\nid", "1\r\n2")
        .expires_in(HOUR);
    device.enqueue("readings", job).await.unwrap();
    let raw = Bytes::from_static(&[0, 255, 13, 10]);
    device.enqueue("readings", NewJob::raw("image", raw.clone())).await.unwrap();
    let (to_hub, from_device) = (forward(&device, &log).await, receive(&hub, &log));
    until(&from_device, |state| state.jobs == 2).await;
    let is_plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    for (name, value) in log.envelopes().iter().flat_map(|envelope| &envelope.headers) {
        assert!(is_plain(name) && is_plain(value), "{name:?}: {value:?}");
    }
    let page = hub.jobs(&millpond::JobFilter::new().queue("readings"), None, 10).unwrap();
    let reading = page.jobs.iter().find(|job| job.kind == "reading").unwrap();
    assert_eq!(reading.payload.codec, Codec::Json);
    assert_eq!(&reading.payload.bytes[..], "{\"°C\":21.5}".as_bytes());
    assert_eq!(reading.priority.get(), 2);
    assert_eq!(reading.group.as_deref(), Some("room 7\r\nInjected: yes — 100 %"));
    assert_eq!((reading.max_attempts, &reading.tags[..]), (Some(3), &["a,b".to_owned(), "ü".to_owned()][..]));
    assert_eq!(reading.headers["trace\nid"], "1\r\n2");
    let sent = device.now();
    assert!(reading.expires_at.is_some_and(|at| at.since(sent) > HOUR / 2));
    let image = page.jobs.iter().find(|job| job.kind == "image").unwrap();
    assert_eq!((image.payload.codec, &image.payload.bytes, image.state), (Codec::Raw, &raw, State::Pending));
    to_hub.stop().await;
}

#[tokio::test]
async fn a_job_that_is_too_large_is_a_dead_letter_of_the_sender_and_the_others_go() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    device.enqueue("readings", NewJob::raw("reading", vec![0; 1 << 20])).await.unwrap();
    device.enqueue("readings", NewJob::raw("reading", "small")).await.unwrap();
    let to_hub = forward(&device, &log).await;
    until(&to_hub, |state| state.jobs == 1).await;
    let dead = async {
        while device.queue("readings").unwrap().counts().dead == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(SOON, dead).await.unwrap();
    assert_eq!(&log.envelopes()[0].payload[..], b"small");
    let reason = device.job(millpond::JobId::new(1)).unwrap().reason.unwrap();
    assert!(reason.contains("1048576"), "{reason}");
}

fn hostile(headers: &[(&str, &str)]) -> Envelope {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Envelope { partition: 0, headers, payload: Bytes::from_static(b"?") }
}

#[tokio::test]
async fn what_can_never_be_a_job_is_kept_aside_and_the_rest_goes_on() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let hub_pond = open(dir.path(), "hub.redb");
    let from = ("ce-source", "elsewhere");
    let bad: [&[(&str, &str)]; 9] = [
        &[],
        &[("mp-v", "1")],
        &[("mp-v", "1"), from, ("ce-type", "a b"), ("mp-batch", "1/0")],
        &[("mp-v", "1"), from, ("ce-type", "reading")],
        &[("mp-v", "1"), from, ("ce-type", "reading"), ("mp-batch", "1")],
        &[("mp-v", "1"), from, ("ce-type", "%FF%FE"), ("mp-batch", "1/1")],
        &[("mp-v", "1"), from, ("ce-type", "reading"), ("mp-batch", "1/2"), ("mp-priority", "99")],
        &[("mp-v", "1"), from, ("ce-type", "reading"), ("mp-batch", "1/3"), ("mp-codec", "xml")],
        &[("mp-v", "1"), from, ("ce-type", "reading"), ("mp-batch", "1/4"), ("mp-headers", "[1]")],
    ];
    for headers in bad {
        log.inject(hub(), hostile(headers));
    }
    log.inject(hub(), hostile(&[("mp-v", "1"), from, ("ce-type", "reading"), ("mp-batch", "2/0")]));
    let link = receive(&hub_pond, &log);
    let state = until(&link, |state| state.jobs == 1).await;
    assert_eq!(state.unreadable, bad.len() as u64);
    let aside = hub_pond.jobs(&millpond::JobFilter::new().queue("readings.unreadable"), None, 100).unwrap();
    assert_eq!(aside.jobs.len(), bad.len());
    assert!(aside.jobs.iter().all(|job| !job.headers["reason"].is_empty() && &job.payload.bytes[..] == b"?"));
}

#[tokio::test]
async fn headers_of_a_newer_version_stop_the_link_and_are_not_skipped() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let hub_pond = open(dir.path(), "hub.redb");
    let headers = [("mp-v", "1"), ("ce-source", "a"), ("ce-type", "reading"), ("mp-batch", "1/0")];
    log.inject(hub(), hostile(&headers));
    log.inject(hub(), hostile(&[("mp-v", "2")]));
    log.inject(hub(), hostile(&[headers[0], headers[1], headers[2], ("mp-batch", "2/0")]));
    let link = receive(&hub_pond, &log);
    let is_told = |state: &LinkState| state.last_error.as_ref().is_some_and(|error| error.contains("version 2"));
    assert_eq!(until(&link, is_told).await.jobs, 1);
    // A second start stops at the same place.
    link.stop().await;
    let link = receive(&hub_pond, &log);
    assert_eq!(until(&link, is_told).await.jobs, 0);
    assert_eq!(hub_pond.queue("readings").unwrap().counts().enqueued_total, 1);
}

#[tokio::test]
async fn nothing_is_read_while_too_many_jobs_wait() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub_pond) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let to_hub = forward(&device, &log).await;
    enqueue(&device, 0..100).await;
    until(&to_hub, |state| state.jobs == 100).await;
    let from_device = Receive::new(&hub_pond, "readings", &log, hub()).batch(10).unfinished_max(30).start().unwrap();
    until(&from_device, |state| state.jobs == 30).await;
    assert_eq!(hub_pond.queue("readings").unwrap().counts().unfinished(), 30);
    let mut arrived = handled(&hub_pond);
    for _ in 0..100 {
        next(&mut arrived).await;
    }
    until(&from_device, |state| state.jobs == 100).await;
}

#[tokio::test]
async fn while_the_engine_is_down_nothing_is_taken_and_nothing_is_written() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    log.set_down(true);
    let device = open(dir.path(), "device.redb");
    let to_hub = forward(&device, &log).await;
    enqueue(&device, 0..10).await;
    let error = until(&to_hub, |state| state.last_error.is_some()).await.last_error.unwrap();
    assert!(error.contains("not available"), "{error}");
    let commits = || device.metrics().commits_total;
    let settled = async {
        loop {
            let before = commits();
            tokio::time::sleep(Duration::from_millis(500)).await;
            if commits() == before {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, settled).await.expect("it stops writing");
    assert_eq!(device.queue("readings").unwrap().counts().unfinished(), 10);
    log.set_down(false);
    until(&to_hub, |state| state.jobs == 10).await;
}

#[tokio::test]
async fn a_mailbox_is_shared_among_receivers_by_its_partitions() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let device = open(dir.path(), "device.redb");
    let (one, two) = (open(dir.path(), "one.redb"), open(dir.path(), "two.redb"));
    let to_hub = forward(&device, &log).await;
    let part = |range| hub().only(range).unwrap();
    let first = Receive::new(&one, "readings", &log, part(0..8)).start().unwrap();
    let second = Receive::new(&two, "readings", &log, part(8..16)).start().unwrap();
    let jobs = (0..100).map(|n| NewJob::raw("reading", n.to_string()).group(format!("device {n}")));
    device.enqueue_many("readings", jobs).await.unwrap();
    until(&to_hub, |state| state.jobs == 100).await;
    until(&first, |state| state.jobs + second.state().jobs == 100).await;
    assert!(first.state().jobs > 20 && second.state().jobs > 20, "{:?} {:?}", first.state(), second.state());
}

#[tokio::test]
async fn names_and_partitions_that_are_not_valid_are_refused() {
    for name in ["", "a.b", "a b", "*", ">", &"a".repeat(129)] {
        assert!(matches!(Mailbox::named(name), Err(millpond_links::Error::InvalidName { .. })), "{name:?}");
    }
    for partitions in [0, 1_025] {
        assert!(hub().partitions(partitions).is_err());
    }
    assert!(hub().only(3..3).is_err() && hub().only(0..17).is_err());
    let dir = tempfile::tempdir().unwrap();
    let device = open(dir.path(), "device.redb");
    let _worker = handled(&device);
    let refused = Forward::new(&device, "readings", &MemoryLog::new(), hub()).start().await.unwrap_err();
    assert!(matches!(refused, millpond_links::Error::Queue(millpond::Error::WorkerExists { .. })), "{refused}");
}

#[tokio::test]
async fn large_jobs_go_in_several_batches_and_commits() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub_pond) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    for n in 0..40u8 {
        device.enqueue("readings", NewJob::raw("reading", vec![n; 1_000_000])).await.unwrap();
    }
    let (to_hub, from_device) = (forward(&device, &log).await, receive(&hub_pond, &log));
    until(&from_device, |state| state.jobs == 40).await;
    until(&to_hub, |state| state.jobs == 40).await;
    let mut batches: Vec<_> = log.envelopes().iter().map(|job| job.header("mp-batch").unwrap().to_owned()).collect();
    batches.retain(|batch| batch.ends_with("/0"));
    assert!(batches.len() >= 5, "{batches:?}");
    let state = to_hub.state();
    assert_eq!((state.jobs, state.known, state.file_went_back), (40, 0, 0));
}

#[tokio::test]
async fn a_receiver_begins_again_if_the_engine_has_lost_what_it_has_read() {
    let (dir, log) = (tempfile::tempdir().unwrap(), MemoryLog::new());
    let (device, hub_pond) = (open(dir.path(), "device.redb"), open(dir.path(), "hub.redb"));
    let (to_hub, from_devices) = (forward(&device, &log).await, receive(&hub_pond, &log));
    let empty = log.snapshot();
    enqueue(&device, 0..5).await;
    until(&from_devices, |state| state.jobs == 5).await;
    to_hub.stop().await;
    log.go_back(&empty);
    // What another device sends is before the position up to which the receiver had read.
    let other = open(dir.path(), "other.redb");
    let _to_hub = forward(&other, &log).await;
    enqueue(&other, 5..6).await;
    let state = until(&from_devices, |state| state.jobs == 6).await;
    assert_eq!(state.engine_went_back, 1);
}
