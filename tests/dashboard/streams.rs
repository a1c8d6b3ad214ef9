//! Streams, their consumers and entries: how they are listed and shown, and the actions on them.

use futures_util::StreamExt;
use millpond::dashboard::Source;
use millpond::dashboard::api::{
    Action, Code, EntryOf, EntryQuery, NewEntry, Paging, Problem, Seek, StreamDetail, StreamSettings, Time,
};
use millpond::{Job, Millpond, NewJob, Retry, Worker};
use serde_json::json;

use crate::pond::{Stocked, stocked};
use crate::stock::Work;
use crate::support::*;

fn numbers(numbers: std::ops::Range<u64>) -> impl Iterator<Item = NewJob> {
    numbers.map(|n| NewJob::json("work", &json!({ "n": n })))
}

/// A consumer of the stream `orders` for which every entry with an odd number is a dead letter.
async fn crm(pond: &Millpond) -> Worker {
    let crm = pond
        .consumer("orders", "crm")
        .retry(Retry::none())
        .handle(|job: Job<Work>| async move { if job.n % 2 == 1 { Err("odd".into()) } else { Ok(()) } });
    crm.start().await.unwrap()
}

async fn detail(at: &Stocked) -> StreamDetail {
    at.source.stream("orders").await.unwrap()
}

async fn refused(at: &Stocked, action: Action) -> Problem {
    at.act(action).await.unwrap_err()
}

#[tokio::test]
async fn an_entry_is_appended_with_all_that_it_can_have() {
    let at = stocked().await;
    let json = r#"{"b":123456789012345678901234567890,"a":1.50}"#;
    let entry = NewEntry {
        kind: "paid".into(),
        key: Some("customer 9".into()),
        payload_text: Some(json.replace(',', ",\n ")),
        tags: vec!["tenant:9".into()],
        headers: [("trace".to_owned(), "xyz".to_owned())].into(),
        ..NewEntry::default()
    };
    at.changes(Action::Append { stream: "orders".into(), entry: entry.clone() }, 1).await;
    let done = at.changes(Action::Append { stream: "orders".into(), entry: entry.clone() }, 1).await;
    assert_eq!(done.message, "entry 1 is in stream orders");
    let page = at.source.entries("orders", EntryQuery::default()).await.unwrap();
    let shown = &page.entries[1];
    assert_eq!((shown.offset, shown.kind.as_str(), shown.key.as_deref()), (1, "paid", Some("customer 9")));
    assert_eq!((&shown.tags[..], shown.headers["trace"].as_str()), (&["tenant:9".to_owned()][..], "xyz"));
    assert_eq!(shown.payload.text, "{\n  \"b\": 123456789012345678901234567890,\n  \"a\": 1.50\n}");
    assert_eq!((shown.payload.bytes, shown.payload.is_cut), (json.len() as u64, false));

    let both = NewEntry { payload: json!(1), ..entry };
    let problem = refused(&at, Action::Append { stream: "orders".into(), entry: both }).await;
    assert!(problem.code == Code::Invalid && problem.detail.contains("not both"), "{problem}");
    at.close().await;
}

#[tokio::test]
async fn entries_are_shown_by_pages_of_a_number_and_of_bytes() {
    let at = stocked().await;
    let orders = at.pond.stream("orders").unwrap();
    orders.append_many(numbers(0..60)).await.unwrap();
    let page = async |from, limit| {
        let page = at.source.entries("orders", EntryQuery { from, limit }).await.unwrap();
        let offsets: Vec<_> = page.entries.iter().map(|entry| entry.offset).collect();
        (page.from, offsets, page.next)
    };
    assert_eq!(page(Some(57), Some(2)).await, (57, vec![57, 58], Some(59)));
    assert_eq!(page(Some(59), Some(2)).await, (59, vec![59], None));
    assert_eq!(page(Some(60), Some(2)).await, (60, vec![], None));
    assert_eq!(page(None, Some(3)).await, (57, vec![57, 58, 59], None));
    assert_eq!(page(None, None).await, (10, (10..60).collect(), None));
    orders.configure(millpond::StreamSettings::default().max_entries(5)).await.unwrap();
    orders.sweep().await.unwrap();
    assert_eq!(page(Some(0), Some(2)).await, (55, vec![55, 56], Some(57)), "it begins with the first that is left");

    let large = || NewJob::raw("blob", "x".repeat(100_000));
    at.pond.stream("blobs").unwrap().append_many((0..40).map(|_| large())).await.unwrap();
    let page = at.source.entries("blobs", EntryQuery { from: Some(0), limit: None }).await.unwrap();
    assert!(page.entries[0].payload.is_cut && page.entries[0].payload.bytes == 100_000);
    assert_eq!((page.entries.len(), page.next), (16, Some(16)), "16 payloads that were cut at 64 KiB are 1 MiB");
    at.close().await;
}

#[tokio::test]
async fn streams_are_listed_by_pages_with_their_consumers() {
    let at = stocked().await;
    for name in ["a", "b", "orders"] {
        at.pond.stream(name).unwrap().append_many(numbers(0..4)).await.unwrap();
    }
    for name in ["slow", "fast"] {
        let consumer = at.pond.consumer("orders", name).handle(|_: Job<Work>| async { Ok(()) }).start();
        consumer.await.unwrap().stop().await.unwrap();
    }
    for (name, to) in [("slow", 1), ("fast", 3)] {
        let to = Seek::Offset(to);
        at.changes(Action::SeekConsumer { stream: "orders".into(), consumer: name.into(), to }, 1).await;
    }
    let page = at.source.streams(Paging { after: None, limit: Some(2) }).await.unwrap();
    let names: Vec<_> = page.streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!((names, page.next.as_deref()), (vec!["a", "b"], Some("b")));
    assert_eq!((page.streams[0].consumers, page.streams[0].behind_max), (0, None));
    let page = at.source.streams(Paging { after: page.next, limit: Some(1) }).await.unwrap();
    let orders = &page.streams[0];
    assert_eq!((orders.first, orders.next, orders.entries, page.next), (0, 4, 4, None));
    assert_eq!((orders.consumers, orders.behind_max), (2, Some(3)));

    let all = at.source.consumers(None).await.unwrap();
    let shown: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.queue.as_str(), one.behind)).collect();
    assert_eq!(shown, [("fast", "orders:fast", 1), ("slow", "orders:slow", 3)]);
    assert_eq!(at.source.consumers(Some("orders")).await.unwrap(), all);
    assert_eq!(at.source.consumers(Some("a")).await.unwrap(), []);
    for problem in [at.source.consumers(Some("never")).await.err(), at.source.stream("never").await.err()] {
        assert_eq!(problem.unwrap().code, Code::NotFound);
    }
    at.close().await;
}

#[tokio::test]
async fn a_stream_is_configured_swept_and_removed() {
    let at = stocked().await;
    let stream = || "orders".to_owned();
    at.pond.stream("orders").unwrap().append_many(numbers(0..10)).await.unwrap();
    let settings = StreamSettings {
        max_age_seconds: Some(3_600.0),
        max_bytes: Some(1 << 20),
        max_entries: Some(3),
        is_compacted: true,
    };
    at.changes(Action::ConfigureStream { stream: stream(), settings: settings.clone() }, 1).await;
    assert_eq!(detail(&at).await.stream.settings, settings);
    at.changes(Action::SweepStream { stream: stream() }, 1).await;
    assert_eq!((detail(&at).await.stream.first, detail(&at).await.stream.entries), (7, 3));
    at.changes(Action::ConfigureStream { stream: stream(), settings: StreamSettings::default() }, 1).await;
    assert_eq!(detail(&at).await.stream.settings, StreamSettings::default());
    for wrong in [
        StreamSettings { max_entries: Some(0), ..StreamSettings::default() },
        StreamSettings { max_age_seconds: Some(-1.0), ..StreamSettings::default() },
    ] {
        let problem = refused(&at, Action::ConfigureStream { stream: stream(), settings: wrong }).await;
        assert_eq!(problem.code, Code::Invalid, "{problem}");
    }

    crm(&at.pond).await.stop().await.unwrap();
    let problem = refused(&at, Action::RemoveStream { stream: stream() }).await;
    assert!(problem.code == Code::Conflict && problem.detail.contains("remove its consumers"), "{problem}");
    at.changes(Action::RemoveConsumer { stream: stream(), consumer: "crm".into() }, 1).await;
    at.changes(Action::RemoveStream { stream: stream() }, 1).await;
    for action in [Action::RemoveStream { stream: stream() }, Action::SweepStream { stream: stream() }] {
        assert_eq!(refused(&at, action).await.code, Code::NotFound);
    }
    at.close().await;
}

#[tokio::test]
async fn a_consumer_is_moved_paused_and_removed() {
    let at = stocked().await;
    let (stream, consumer) = (|| "orders".to_owned(), || "crm".to_owned());
    let seek = |to| Action::SeekConsumer { stream: stream(), consumer: consumer(), to };
    at.pond.stream("orders").unwrap().append_many(numbers(0..5)).await.unwrap();
    let worker = crm(&at.pond).await;
    drained(&at.pond).await;
    let crm = || async { detail(&at).await.consumers.remove(0) };
    let now = crm().await;
    assert_eq!((now.next, now.behind, now.behind_since, now.jobs, now.dead), (5, 0, None, 0, 2));
    assert!(now.is_running && !now.is_paused);

    let pause = || Action::PauseConsumer { stream: stream(), consumer: consumer() };
    at.changes(pause(), 1).await;
    at.changes(pause(), 0).await;
    let start_of_time = Seek::Time(Time(0));
    for (to, next) in
        [(Seek::Earliest, 0), (Seek::Latest, 5), (Seek::Offset(3), 3), (start_of_time, 0), (Seek::Offset(4), 4)]
    {
        let done = at.changes(seek(to), 1).await;
        assert!(done.message.ends_with(&format!("goes on with entry {next}")), "{}", done.message);
    }
    let now = crm().await;
    assert_eq!((now.next, now.behind, now.is_paused), (4, 1, true));
    assert!(now.behind_since.is_some());
    let resume = || Action::ResumeConsumer { stream: stream(), consumer: consumer() };
    at.changes(resume(), 1).await;
    at.changes(resume(), 0).await;
    drained(&at.pond).await;
    assert_eq!(crm().await.behind, 0);

    let remove = || Action::RemoveConsumer { stream: stream(), consumer: consumer() };
    let problem = refused(&at, remove()).await;
    assert!(problem.code == Code::Conflict && problem.detail.contains("is running"), "{problem}");
    worker.stop().await.unwrap();
    at.changes(remove(), 1).await;
    for action in [remove(), pause(), resume(), seek(Seek::Latest)] {
        let problem = refused(&at, action).await;
        assert_eq!(problem.code, Code::NotFound, "{problem}");
    }
    let queues = at.pond.queues();
    assert!(queues.iter().all(|queue| queue.name() != "orders:crm"), "a refused pause makes no queue");
    at.close().await;
}

#[tokio::test]
async fn entries_that_a_consumer_has_lost_are_counted_and_told() {
    let at = stocked().await;
    let (orders, mut events) = (at.pond.stream("orders").unwrap(), at.source.events());
    crm(&at.pond).await.stop().await.unwrap();
    orders.append_many(numbers(0..10)).await.unwrap();
    orders.configure(millpond::StreamSettings::default().max_entries(4)).await.unwrap();
    at.changes(Action::SweepStream { stream: "orders".into() }, 1).await;
    let now = detail(&at).await.consumers.remove(0);
    assert_eq!((now.next, now.behind, now.lost), (6, 4, 6));
    let told = async {
        loop {
            let event = events.next().await.expect("the queue is open");
            if event.kind == "entries_lost" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(SECOND * 60, told).await.unwrap();
    assert_eq!(event.detail, "consumer crm, entries 6, from 0, stream orders, to 6");
    let text = at.source.metrics().await.unwrap();
    let bytes = detail(&at).await.stream.bytes;
    let own = "{stream=\"orders\",consumer=\"crm\"}";
    for line in [
        "millpond_stream_entries{stream=\"orders\"} 4\n".to_owned(),
        format!("millpond_stream_bytes{{stream=\"orders\"}} {bytes}\n"),
        format!("millpond_consumer_lag_entries{own} 4\n"),
        format!("millpond_consumer_lost_total{own} 6\n"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    at.close().await;
}

#[tokio::test]
async fn a_dead_letter_says_which_entry_it_is() {
    let at = stocked().await;
    at.pond.stream("orders").unwrap().append_many(numbers(0..2)).await.unwrap();
    let worker = crm(&at.pond).await;
    drained(&at.pond).await;
    let query = millpond::dashboard::api::JobQuery::of_queue("orders:crm");
    let jobs = at.source.jobs(query, millpond::dashboard::api::Order::Oldest, Paging::default()).await.unwrap();
    let dead = jobs.jobs.iter().find(|job| job.state == "dead").expect("entry 1 has failed");
    let shown = at.source.job(&dead.id).await.unwrap();
    assert_eq!(shown.entry, Some(EntryOf { stream: "orders".to_owned(), offset: 1 }));
    assert_eq!(at.source.job(&at.waiting.to_string()).await.unwrap().entry, None);
    worker.stop().await.unwrap();
    at.close().await;
}
