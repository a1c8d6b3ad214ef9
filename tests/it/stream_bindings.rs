//! A binding of a topic leads to a stream: a message becomes one entry there, in the commit of its jobs.

use millpond::testing::{ManualClock, Unguarded};
use millpond::{
    Binding, Context, Error, Event, Job, Kind, KindOptions, Millpond, NewJob, Priority, Published, Recipient, Retry,
    Topic, TopicSettings, Unique, WhenFull,
};
use millpond_testkit::{Failure, Fault, Op};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
const STREAMS: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/streams");

/// The topic `t`, with bindings to the stream `s` and the queue `q` for every message.
async fn topic(pond: &Millpond) -> Topic {
    let topic = pond.topic("t").unwrap();
    topic.bind(Binding::to_stream("s")).await.unwrap();
    topic.bind(Binding::to("q")).await.unwrap();
    topic
}

/// The numbers of the entries of a stream. Each has the offset that it must have.
fn entries(pond: &Millpond, stream: &str) -> Vec<u64> {
    let entries = pond.stream(stream).unwrap().read(0, 10_000).unwrap();
    assert!(entries.iter().zip(0..).all(|(entry, n)| entry.offset == n));
    entries.iter().map(|entry| entry.payload.decode::<Work>().unwrap().n).collect()
}

fn streams(published: &Published) -> Vec<(&str, u64)> {
    published.entries.iter().map(|entry| (&*entry.stream, entry.offset)).collect()
}

// --- where a message goes -----------------------------------------------------------------------

#[tokio::test]
async fn each_stream_with_a_matching_binding_gets_one_entry() {
    let (_, pond) = memory();
    let topic = pond.topic("t").unwrap();
    for (stream, pattern) in [("z", "#"), ("z", "a.*"), ("z", "a.b"), ("a", "a.#"), ("other", "b")] {
        assert!(topic.bind(Binding::to_stream(stream).key(pattern)).await.unwrap());
    }
    assert!(!topic.bind(Binding::to_stream("z").key("#")).await.unwrap());
    topic.bind(Binding::to_stream("headers").headers_any([("x", "1"), ("x", "2")])).await.unwrap();
    // A queue and a stream of one name are two.
    topic.bind(Binding::to("z").key("#")).await.unwrap();
    assert_eq!(pond.stream("other").unwrap().info().unwrap().entries, 0, "the binding has made it");

    let published = topic.publish("a.b", work(7).header("x", "2")).await.unwrap();
    assert_eq!(streams(&published), [("a", 0), ("headers", 0), ("z", 0)]);
    assert_eq!((published.jobs.len(), published.entry_in("z"), published.entry_in("other")), (1, Some(0), None));
    assert_eq!(streams(&topic.publish("a.b", work(8)).await.unwrap()), [("a", 1), ("z", 1)]);
    assert_eq!((entries(&pond, "z"), entries(&pond, "headers"), pending(&pond, "z")), (vec![7, 8], vec![7], 2));
    let matched = topic.matches("a.b", &[]).unwrap();
    assert_eq!((matched.queues, matched.streams), (vec!["z".to_owned()], vec!["a".to_owned(), "z".to_owned()]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn bindings_to_streams_are_listed_and_removed() {
    let (_, pond) = memory();
    let topic = topic(&pond).await;
    assert_eq!(topic.bindings().unwrap(), [Binding::to("q"), Binding::to_stream("s")]);
    assert_eq!(topic.bindings().unwrap()[1].to, Recipient::Stream("s".to_owned()));
    assert!(!topic.unbind(Binding::to_stream("q")).await.unwrap());
    assert!(!topic.unbind(Binding::to_stream("s").key("#")).await.unwrap());
    assert!(topic.unbind(Binding::to_stream("s")).await.unwrap());
    assert!(topic.publish("", work(1)).await.unwrap().entries.is_empty());
    let refused = topic.bind(Binding::to_stream("no stream")).await;
    assert!(matches!(refused, Err(Error::InvalidName { what: "stream", .. })), "{refused:?}");
    let refused = topic.bind(Binding::to_stream("s").key("a.>.b")).await.unwrap_err();
    assert!(refused.to_string().starts_with("the binding to stream \"s\" is not accepted"), "{refused}");
}

#[tokio::test]
async fn a_message_that_only_a_stream_gets_is_routed() {
    let (_, pond) = memory();
    let topic = pond.topic("t").unwrap();
    topic.bind(Binding::to_stream("s").key("a")).await.unwrap();
    topic.configure(TopicSettings::default().alternate("lost")).await.unwrap();
    let mut events = pond.events();
    let published = topic.publish("a", work(1)).await.unwrap();
    assert!(!published.is_unrouted() && !published.used_alternate && published.jobs.is_empty());
    assert_eq!(pending(&pond, "lost"), 0);
    assert!(topic.publish("b", work(2)).await.unwrap().used_alternate);
    topic.configure(TopicSettings::default().mandatory(true)).await.unwrap();
    topic.publish("a", work(3)).await.unwrap();
    assert!(matches!(topic.publish("b", work(4)).await, Err(Error::Unroutable { .. })));
    assert_eq!(entries(&pond, "s"), [1, 3]);
    assert_eq!((pond.metrics().published_total, pond.metrics().unrouted_total), (3, 0));
    close(pond).await;
    while let Some(event) = events.next().await {
        assert!(!matches!(event, Ok(Event::Unrouted { .. })), "{event:?}");
    }
}

// --- what an entry has --------------------------------------------------------------------------

#[derive(Debug, Serialize, Deserialize)]
struct Optioned {
    n: u64,
}

impl Kind for Optioned {
    const KIND: &'static str = "optioned";

    fn options() -> KindOptions {
        KindOptions::new().priority(Priority::LAST).max_attempts(1).expires_in(HOUR)
    }
}

#[tokio::test]
async fn an_entry_has_the_key_the_tags_and_the_headers_of_the_message_and_no_other_option() {
    let (clock, pond) = memory();
    let topic = topic(&pond).await;
    let message = NewJob::new(Optioned { n: 7 }).group("g").tag("tag").header("name", "value");
    let published = topic.publish("", message.delay(HOUR).unique_key("key").idempotency_key("call")).await.unwrap();
    let job = pond.job(published.job_in("q").unwrap()).unwrap();
    assert_eq!((job.priority, job.max_attempts, job.unique_key.as_deref()), (Priority::LAST, Some(1), Some("key")));
    let entry = &pond.stream("s").unwrap().read(0, 10).unwrap()[0];
    assert_eq!((entry.kind.as_str(), entry.payload.decode::<Optioned>().unwrap().n), ("optioned", 7));
    assert_eq!((entry.key.as_deref(), &entry.tags[..]), (Some("g"), &["tag".to_owned()][..]));
    assert_eq!(entry.headers["name"], "value");
    // The entry neither waits nor expires, and is there again whatever key the message has.
    clock.advance(HOUR * 3);
    let unique = NewJob::new(Optioned { n: 8 }).unique("other", Unique::keep_latest());
    assert_eq!(streams(&topic.publish("", unique).await.unwrap()), [("s", 1)]);
    assert_eq!(pond.stream("s").unwrap().read(1, 10).unwrap()[0].key, None);
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Optioned>| {
        log.push((job.n, job.max_attempts()));
        async { Ok(()) }
    };
    pond.consumer("s", "c").retry(Retry::none().max_attempts(5)).handle(handler).start().await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all().iter().map(|(n, _)| *n).collect::<Vec<_>>(), [7, 8]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn hooks_for_new_jobs_do_not_see_entries() {
    let (_, pond) = memory_with(|builder| builder.on_enqueue(|queue, job| Ok(job.header("queue", queue))));
    let topic = topic(&pond).await;
    let published = topic.publish("", work(1)).await.unwrap();
    assert_eq!(pond.job(published.job_in("q").unwrap()).unwrap().headers["queue"], "q");
    assert!(pond.stream("s").unwrap().read(0, 10).unwrap()[0].headers.is_empty());
    topic.unbind(Binding::to("q")).await.unwrap();
    assert_eq!(streams(&topic.publish("", work(2)).await.unwrap()), [("s", 1)]);
}

#[tokio::test]
async fn a_stream_that_keeps_the_latest_of_each_key_keeps_the_latest_message() {
    let (_, pond) = memory();
    topic(&pond).await;
    let settings = millpond::StreamSettings::default().compact();
    pond.stream("s").unwrap().configure(settings).await.unwrap();
    for (key, n) in [("a", 1), ("b", 2), ("a", 3)] {
        pond.topic("t").unwrap().publish("", member(key, n)).await.unwrap();
    }
    let kept = pond.stream("s").unwrap().read(0, 10).unwrap();
    assert_eq!(kept.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [1, 2]);
    assert_sound(&pond).await;
}

// --- one commit ---------------------------------------------------------------------------------

#[tokio::test]
async fn entries_and_jobs_are_stored_with_the_rows_of_the_application_or_not_at_all() {
    let (_, pond) = memory();
    topic(&pond).await;
    let write = |fail: bool| {
        pond.transaction(move |tx| {
            tx.open_table(ROWS)?.insert(7, 7)?;
            let published = tx.publish("t", "x", work(7))?;
            // Both are in this transaction, in this order.
            assert_eq!(published.entry_in("s"), Some(0));
            assert_eq!(tx.append("s", work(8))?, 1);
            assert_eq!(tx.publish("t", "x", work(9))?.entry_in("s"), Some(2));
            if fail { Err("refused".into()) } else { Ok(published) }
        })
    };
    let rows = || pond.begin_read().unwrap().open_table(ROWS).map_or(0, |rows| rows.iter().unwrap().count());
    assert!(write(true).await.is_err());
    assert_eq!((rows(), pending(&pond, "q"), entries(&pond, "s")), (0, 0, vec![]));
    write(false).await.unwrap();
    assert_eq!((rows(), pending(&pond, "q"), entries(&pond, "s")), (1, 2, vec![7, 8, 9]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_binding_of_a_transaction_that_fails_leaves_no_stream() {
    let (_, pond) = memory();
    let bound = pond
        .transaction(|tx| {
            assert!(tx.bind("t", Binding::to_stream("s"))?);
            assert_eq!(tx.publish("t", "", work(1))?.entry_in("s"), Some(0));
            assert!(tx.unbind("t", Binding::to_stream("s"))?);
            assert!(tx.publish("t", "", work(1))?.is_unrouted());
            Err::<(), _>("refused".into())
        })
        .await;
    assert!(bound.is_err());
    assert!(pond.streams("", 10).unwrap().is_empty() && pond.topics().unwrap().is_empty());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn one_full_queue_keeps_the_message_from_streams_too() {
    let (_, pond) = memory();
    let topic = topic(&pond).await;
    limit(&pond, "q", 1, WhenFull::Refuse).await;
    topic.publish("", work(1)).await.unwrap();
    assert!(matches!(topic.publish("", work(2)).await, Err(Error::QueueFull { .. })));
    let in_tx = pond.transaction(|tx| {
        assert!(matches!(tx.publish("t", "", NewJob::json("never-seen", &1)), Err(Error::QueueFull { .. })));
        Ok(tx.append("s", work(3))?)
    });
    assert_eq!(in_tx.await.unwrap(), 1);
    assert_eq!((pending(&pond, "q"), entries(&pond, "s")), (1, vec![1, 3]));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_message_that_waits_for_room_is_appended_when_it_is_stored() {
    let (_, pond) = memory();
    let topic = topic(&pond).await;
    limit(&pond, "q", 1, WhenFull::Wait).await;
    let first = topic.publish("", work(1)).await.unwrap();
    let second = tokio::spawn(topic.publish("", work(2)));
    settled(&pond).await;
    assert!(!second.is_finished());
    pond.stream("s").unwrap().append(work(3)).await.unwrap();
    pond.cancel(first.job_in("q").unwrap(), "room").await.unwrap();
    assert_eq!(streams(&second.await.unwrap().unwrap()), [("s", 2)]);
    assert_eq!(entries(&pond, "s"), [1, 3, 2]);
}

#[tokio::test]
async fn a_handler_and_a_guard_publish_to_streams_when_they_are_committed() {
    let (_, pond) = memory();
    topic(&pond).await;
    let failures = Failures::of(1);
    let handler = move |_: Job<Work>, ctx: Context| {
        ctx.on_complete(|tx| {
            tx.publish("t", "", work(8))?;
            Ok(())
        });
        std::future::ready(failures.next().map_err(millpond::Failure::from))
    };
    pond.worker("w").retry(Retry::fixed(std::time::Duration::ZERO).jitter(0.0)).handle(handler).start().unwrap();
    pond.enqueue("w", work(7)).await.unwrap();
    drained(&pond).await;
    assert_eq!(entries(&pond, "s"), [8], "the attempt that failed has published nothing");
    let mut tx = pond.begin_write().unwrap();
    tx.publish("t", "", work(9)).unwrap();
    drop(tx);
    let mut tx = pond.begin_write().unwrap();
    tx.publish("t", "", work(10)).unwrap();
    tx.commit().unwrap();
    assert_eq!((entries(&pond, "s"), pending(&pond, "q")), (vec![8, 10], 2));
}

#[tokio::test]
async fn a_commit_that_fails_appends_nothing() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let again = disk.clone();
    let pond = Millpond::builder().clock(clock.clone()).seed(0).open_backend_with(move || Ok(again.clone())).unwrap();
    let topic = topic(&pond).await;
    disk.fail(Fault::lasting(&[Op::Write], Failure::Io));
    topic.publish("", work(1)).await.unwrap_err();
    disk.repair();
    let mut events = pond.events();
    while pond.degraded().is_some() {
        clock.advance(SECOND);
        if let Some(Ok(Event::Healed)) = events.next().await {
            break;
        }
    }
    assert_eq!(streams(&topic.publish("", work(2)).await.unwrap()), [("s", 0)]);
    assert_eq!((entries(&pond, "s"), pending(&pond, "q")), (vec![2], 1));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn messages_of_one_batch_have_offsets_in_their_order() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let topic = topic(&pond).await;
    let held = hold_writer(&pond, &disk).await;
    let mut published = Vec::new();
    for n in 0..20 {
        // The first bindings of a batch change those that the next callers have seen.
        if n == 10 {
            published.push((None, tokio::spawn(topic.publish("", work(n)))));
            drop(tokio::spawn(topic.bind(Binding::to_stream("late"))));
        } else {
            published.push((Some(n), tokio::spawn(topic.publish("", work(n)))));
        }
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    held.await.unwrap().unwrap();
    let mut late = Vec::new();
    for (n, published) in published {
        let published = published.await.unwrap().unwrap();
        let offset = published.entry_in("s").unwrap();
        assert_eq!(n.unwrap_or(10), offset);
        late.extend(published.entry_in("late").map(|_| offset));
    }
    assert_eq!(entries(&pond, "s"), (0..20).collect::<Vec<_>>());
    assert_eq!(late, (11..20).collect::<Vec<_>>());
    assert_eq!(entries(&pond, "late"), late);
    assert_sound(&pond).await;
}

// --- consumers, and the file --------------------------------------------------------------------

#[tokio::test]
async fn a_consumer_gets_what_was_published_in_its_order() {
    let (_, pond) = memory();
    let topic = topic(&pond).await;
    let seen = Log::new();
    let log = seen.clone();
    let handler = move |job: Job<Work>| {
        log.push((job.entry().unwrap().offset, job.n));
        async { Ok(()) }
    };
    topic.publish("", work(0)).await.unwrap();
    pond.consumer("s", "c").handle(handler).start().await.unwrap();
    for n in 1..50 {
        topic.publish("", work(n)).await.unwrap();
    }
    pond.queue("q").unwrap().drain().await.unwrap();
    drained(&pond).await;
    assert_eq!(seen.all(), (0..50).map(|n| (n, n)).collect::<Vec<_>>());
    assert_eq!(pond.stream("s").unwrap().consumer("c").unwrap().info().unwrap().behind, 0);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn bindings_to_streams_survive_a_reopen_and_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    topic(&pond).await.publish("", work(0)).await.unwrap();
    let crashed = disk.crashed("crashed.redb");
    for (n, pond) in [(1, crashed), (1, pond)] {
        let topic = pond.topic("t").unwrap();
        assert_eq!(topic.bindings().unwrap(), [Binding::to("q"), Binding::to_stream("s")]);
        assert_eq!(streams(&topic.publish("", work(n)).await.unwrap()), [("s", n)]);
        assert_sound(&pond).await;
        close(pond).await;
    }
    let pond = disk.open();
    assert_eq!(streams(&pond.topic("t").unwrap().publish("", work(2)).await.unwrap()), [("s", 2)]);
    assert_eq!(entries(&pond, "s"), [0, 1, 2]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_stream_is_removed_when_no_binding_leads_to_it() {
    let (_, pond) = memory();
    let topic = topic(&pond).await;
    topic.publish("", work(1)).await.unwrap();
    let stream = pond.stream("s").unwrap();
    let refused = stream.remove().await;
    assert!(matches!(&refused, Err(Error::StreamBound { topic, .. }) if topic == "t"), "{refused:?}");
    assert_eq!(entries(&pond, "s"), [1], "nothing of it is removed");
    topic.unbind(Binding::to_stream("s")).await.unwrap();
    stream.remove().await.unwrap();
    assert!(topic.publish("", work(2)).await.unwrap().entries.is_empty());
    topic.bind(Binding::to_stream("s")).await.unwrap();
    assert_eq!(streams(&topic.publish("", work(3)).await.unwrap()), [("s", 0)], "it is a new one");
    topic.remove().await.unwrap();
    stream.remove().await.unwrap();
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_bound_stream_whose_row_is_lost_is_made_again() {
    let disk = OnDisk::new();
    let pond = disk.open();
    topic(&pond).await;
    pond.transaction(|tx| {
        tx.unguarded().open_table(STREAMS)?.remove("s")?;
        Ok(())
    })
    .await
    .unwrap();
    let verification = pond.verify().await.unwrap();
    assert!(verification.problems[0].contains("binding 0 of topic \"t\" leads to stream \"s\""), "{verification:?}");
    close(pond).await;
    let pond = disk.open();
    assert_sound(&pond).await;
    assert_eq!(streams(&pond.topic("t").unwrap().publish("", work(1)).await.unwrap()), [("s", 0)]);
    assert_sound(&pond).await;
}
