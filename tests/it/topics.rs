//! A message that is published to a topic becomes a job in each queue that a matching binding leads to, in one commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millpond::testing::{ManualClock, Unguarded};
use millpond::{
    Binding, Context, EnqueueStatus, Error, Event, Job, JobFilter, Matched, Millpond, NewJob, Priority, Published,
    Retry, State, Topic, TopicSettings, WhenFull,
};
use millpond_testkit::{Failure, Fault, Op};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::support::*;

const ROWS: TableDefinition<u64, u64> = TableDefinition::new("rows");
const BINDINGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("millpond/bindings");
const TOPICS: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/topics");

/// The topic `t`, with a binding for each queue and pattern.
async fn topic(pond: &Millpond, bindings: &[(&str, &str)]) -> Topic {
    let topic = pond.topic("t").unwrap();
    for (queue, pattern) in bindings {
        topic.bind(Binding::to(*queue).key(*pattern)).await.unwrap();
    }
    topic
}

fn queues(published: &Published) -> Vec<&str> {
    published.jobs.iter().map(|delivery| &*delivery.queue).collect()
}

fn matched(topic: &Topic, key: &str) -> Vec<String> {
    topic.matches(key, &[]).unwrap().queues
}

// --- where a message goes -----------------------------------------------------------------------

#[tokio::test]
async fn each_queue_with_a_matching_binding_gets_one_job() {
    let (_, pond) = memory();
    let topic =
        topic(&pond, &[("mail", "order.created.*"), ("log", "order.#"), ("eu", "*.*.eu"), ("us", "#.us")]).await;
    topic.bind(Binding::to("all")).await.unwrap();

    let published = topic.publish("order.created.eu", work(7)).await.unwrap();
    assert_eq!(queues(&published), ["all", "eu", "log", "mail"]);
    assert!(!published.used_alternate && !published.is_unrouted());
    for delivery in &published.jobs {
        let job = pond.job(delivery.job).unwrap();
        assert_eq!((job.queue.as_str(), job.payload.decode::<Work>().unwrap()), (&*delivery.queue, Work { n: 7 }));
    }
    assert_eq!(published.job_in("mail").unwrap().status, EnqueueStatus::Stored);
    assert_eq!(published.job_in("us"), None);
    assert_eq!(pending(&pond, "us"), 0);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_queue_whose_bindings_overlap_gets_one_job() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("q", "#"), ("q", "a.*"), ("q", "a.b"), ("q", "*.b"), ("q", "a.>")]).await;
    topic.bind(Binding::to("q")).await.unwrap();
    assert_eq!(topic.publish("a.b", work(1)).await.unwrap().jobs.len(), 1);
    assert_eq!(pending(&pond, "q"), 1);
}

#[tokio::test]
async fn headers_and_keys_are_matched_together() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[]).await;
    topic.bind(Binding::to("both").key("a.*").headers_all([("x", "1"), ("y", "2")])).await.unwrap();
    topic.bind(Binding::to("any").headers_any([("x", "1"), ("x", "2")])).await.unwrap();
    let to = async |key: &str, headers: &[(&str, &str)]| {
        let published = topic.publish(key, work(1).headers(headers.iter().copied())).await.unwrap();
        let matched = topic.matches(key, headers).unwrap().queues;
        assert_eq!(queues(&published), matched);
        matched
    };
    assert_eq!(to("a.b", &[("x", "1"), ("y", "2"), ("z", "3")]).await, ["any", "both"]);
    assert_eq!(to("a", &[("x", "1"), ("y", "2")]).await, ["any"]);
    assert_eq!(to("a.b", &[("x", "2"), ("y", "2")]).await, ["any"]);
    assert!(to("a.b", &[("y", "2")]).await.is_empty());
}

#[tokio::test]
async fn the_options_of_the_job_hold_in_each_queue() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("a", "#"), ("b", "#")]).await;
    let message = work(7).priority(Priority::LAST).max_attempts(1).tag("tag").header("name", "value").group("g");
    let published = topic.publish("", message.delay(HOUR)).await.unwrap();
    for delivery in &published.jobs {
        let job = pond.job(delivery.job).unwrap();
        assert_eq!((job.state, job.priority, job.max_attempts), (State::Scheduled, Priority::LAST, Some(1)));
        assert_eq!(
            (job.tags, job.headers["name"].as_str(), job.group.as_deref()),
            (vec!["tag".into()], "value", Some("g"))
        );
    }
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_unique_key_is_one_key_in_each_queue() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("a", "#"), ("b", "#")]).await;
    let there = pond.enqueue("a", work(1).unique_key("key")).await.unwrap();
    let first = topic.publish("", work(2).unique_key("key")).await.unwrap();
    assert_eq!(first.job_in("a").unwrap().status, EnqueueStatus::Duplicate);
    assert_eq!(first.job_in("a").unwrap(), there.id);
    assert!(first.job_in("b").unwrap().is_stored());
    let again = topic.publish("", work(3).unique_key("key")).await.unwrap();
    assert_eq!(again.jobs.iter().filter(|delivery| delivery.job.is_stored()).count(), 0);
    assert_eq!((pending(&pond, "a"), pending(&pond, "b")), (1, 1));
}

#[tokio::test]
async fn hooks_see_the_job_of_each_queue() {
    let (_, pond) = memory_with(|builder| builder.on_enqueue(|queue, job| Ok(job.header("queue", queue))));
    let topic = topic(&pond, &[("a", "#"), ("b", "#")]).await;
    let published = topic.publish("", work(1)).await.unwrap();
    assert_eq!(queues(&published), ["a", "b"]);
    for delivery in &published.jobs {
        assert_eq!(pond.job(delivery.job).unwrap().headers["queue"], &*delivery.queue);
    }
    let in_tx = pond.transaction(|tx| Ok(tx.publish("t", "", work(1))?)).await.unwrap();
    assert_eq!(pond.job(in_tx.job_in("b").unwrap()).unwrap().headers["queue"], "b");
}

#[tokio::test]
async fn a_hook_that_refuses_one_queue_refuses_the_message() {
    let refuse = |queue: &str, job| if queue == "b" { Err("not here".into()) } else { Ok(job) };
    let (_, pond) = memory_with(|builder| builder.on_enqueue(refuse));
    let topic = topic(&pond, &[("a", "#"), ("b", "#")]).await;
    assert!(matches!(topic.publish("", work(1)).await, Err(Error::EnqueueRefused { queue, .. }) if queue == "b"));
    assert_eq!(pending(&pond, "a"), 0);
}

#[tokio::test]
async fn jobs_of_a_message_fail_and_are_redriven_each_on_its_own() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("good", "#"), ("bad", "#")]).await;
    let failures = Failures::of(1);
    pond.worker("good").handle(|_: Job<Work>| async { Ok(()) }).start().unwrap();
    pond.worker("bad")
        .retry(Retry::none())
        .handle(move |_: Job<Work>| std::future::ready(failures.next().map_err(millpond::Failure::from)))
        .start()
        .unwrap();
    let published = topic.publish("", work(1)).await.unwrap();
    drained(&pond).await;
    let bad = published.job_in("bad").unwrap();
    assert_eq!((state(&pond, bad), pond.queue("good").unwrap().counts().completed_total), (State::Dead, 1));
    pond.dead_letters().redrive(bad).await.unwrap();
    drained(&pond).await;
    assert_eq!(
        (pond.queue("good").unwrap().counts().completed_total, pond.queue("bad").unwrap().counts().completed_total),
        (1, 1)
    );
}

// --- what no binding matches --------------------------------------------------------------------

#[tokio::test]
async fn a_message_that_no_binding_matches_is_answered_counted_and_told() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("q", "a")]).await;
    let mut events = pond.events();
    topic.publish("a", work(1)).await.unwrap();
    let published = topic.publish("b", work(1)).await.unwrap();
    assert!(published.is_unrouted() && !published.used_alternate);
    // An event is published after the answer.
    let told = loop {
        match events.next().await {
            Some(Ok(Event::Unrouted { topic, key, .. })) => break (topic, key),
            Some(Ok(Event::Enqueued { .. })) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((&*told.0, &*told.1), ("t", "b"));
    let metrics = pond.metrics();
    assert_eq!((metrics.published_total, metrics.unrouted_total), (2, 1));
}

#[tokio::test]
async fn the_alternate_queue_gets_what_no_binding_matches() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("q", "a")]).await;
    topic.configure(TopicSettings::default().alternate("lost").mandatory(true)).await.unwrap();
    assert_eq!(queues(&topic.publish("a", work(1)).await.unwrap()), ["q"]);
    let lost = topic.publish("b", work(2)).await.unwrap();
    assert!(lost.used_alternate);
    assert_eq!(queues(&lost), ["lost"]);
    let Matched { queues, used_alternate, .. } = topic.matches("b", &[]).unwrap();
    assert_eq!((queues, used_alternate), (vec!["lost".to_owned()], true));
    assert_eq!((pond.metrics().unrouted_total, pending(&pond, "lost")), (0, 1));
}

#[tokio::test]
async fn a_mandatory_topic_refuses_what_no_queue_gets_and_stores_nothing() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("q", "a")]).await;
    topic.configure(TopicSettings::default().mandatory(true)).await.unwrap();
    let refused = topic.publish("b", work(1)).await;
    assert!(
        matches!(&refused, Err(Error::Unroutable { topic, key, .. }) if (&**topic, &**key) == ("t", "b")),
        "{refused:?}"
    );
    let in_tx = pond
        .transaction(|tx| {
            tx.enqueue("q", work(1))?;
            Ok(tx.publish("t", "b", work(1))?)
        })
        .await;
    assert!(matches!(in_tx, Err(Error::Aborted { .. })), "{in_tx:?}");
    assert_eq!((pending(&pond, "q"), pond.metrics().published_total), (0, 0));
}

#[tokio::test]
async fn a_topic_exists_from_its_first_binding_or_setting_until_it_is_removed() {
    let (_, pond) = memory();
    let topic = pond.topic("t").unwrap();
    let missing = |refused: Result<Published, Error>| {
        assert!(matches!(&refused, Err(Error::NoSuchTopic { topic, .. }) if topic == "t"), "{refused:?}");
    };
    missing(topic.publish("a", work(1)).await);
    assert!(matches!(topic.bindings(), Err(Error::NoSuchTopic { .. })));
    assert!(matches!(topic.unbind(Binding::to("q")).await, Err(Error::NoSuchTopic { .. })));
    assert!(pond.topics().unwrap().is_empty());

    topic.configure(TopicSettings::default()).await.unwrap();
    assert!(topic.publish("a", work(1)).await.unwrap().is_unrouted());
    topic.bind(Binding::to("q")).await.unwrap();
    assert!(topic.unbind(Binding::to("q")).await.unwrap());
    assert!(!topic.unbind(Binding::to("q")).await.unwrap());
    assert!(topic.publish("a", work(1)).await.unwrap().is_unrouted());

    topic.bind(Binding::to("q")).await.unwrap();
    assert!(topic.remove().await.unwrap());
    assert!(!topic.remove().await.unwrap());
    missing(topic.publish("a", work(1)).await);
    topic.bind(Binding::to("other")).await.unwrap();
    assert_eq!(topic.bindings().unwrap(), [Binding::to("other")]);
    assert_sound(&pond).await;
}

// --- one commit ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_message_is_stored_with_the_rows_of_the_application_or_not_at_all() {
    let (_, pond) = memory();
    topic(&pond, &[("a", "#"), ("b", "#")]).await;
    let write = |fail: bool| {
        pond.transaction(move |tx| {
            tx.open_table(ROWS)?.insert(7, 7)?;
            let published = tx.publish("t", "x", work(7))?;
            if fail { Err("refused".into()) } else { Ok(published) }
        })
    };
    let rows = || pond.begin_read().unwrap().open_table(ROWS).map_or(0, |rows| rows.iter().unwrap().count());
    assert!(write(true).await.is_err());
    assert_eq!((rows(), pending(&pond, "a"), pending(&pond, "b")), (0, 0, 0));
    assert_eq!(pond.metrics().published_total, 0);
    assert_eq!(queues(&write(false).await.unwrap()), ["a", "b"]);
    assert_eq!((rows(), pending(&pond, "a"), pending(&pond, "b")), (1, 1, 1));
}

#[tokio::test]
async fn a_message_of_a_handler_is_stored_with_its_completion_or_not_at_all() {
    let (_, pond) = memory();
    topic(&pond, &[("next", "done.*")]).await;
    let failures = Failures::of(1);
    let handler = move |job: Job<Work>, ctx: Context| {
        ctx.on_complete(|tx| {
            assert_eq!(tx.publish("t", "done.once", work(8))?.jobs.len(), 1);
            Ok(())
        });
        assert_eq!(job.n, 7);
        std::future::ready(failures.next().map_err(millpond::Failure::from))
    };
    pond.worker("q").retry(Retry::fixed(std::time::Duration::ZERO).jitter(0.0)).handle(handler).start().unwrap();
    pond.enqueue("q", work(7)).await.unwrap();
    drained(&pond).await;
    assert_eq!(pending(&pond, "next"), 1, "the attempt that failed has published nothing");
}

#[tokio::test]
async fn a_guard_publishes_when_it_is_committed() {
    let (_, pond) = memory();
    topic(&pond, &[("a", "x"), ("b", "x")]).await;
    let mut tx = pond.begin_write().unwrap();
    tx.publish("t", "x", work(1)).unwrap();
    drop(tx);
    assert_eq!(pending(&pond, "a"), 0);
    let mut tx = pond.begin_write().unwrap();
    tx.publish("t", "x", work(1)).unwrap();
    tx.commit().unwrap();
    assert_eq!((pending(&pond, "a"), pending(&pond, "b")), (1, 1));
    let mut tx = pond.begin_write().unwrap();
    tx.enqueue("a", work(2)).unwrap();
    tx.publish("none", "x", work(1)).unwrap();
    assert!(matches!(tx.commit(), Err(Error::NoSuchTopic { .. })));
    assert_eq!(pending(&pond, "a"), 1, "nothing of the transaction is stored");
}

#[tokio::test]
async fn one_full_queue_refuses_the_message_for_all() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("a", "#"), ("full", "#"), ("z", "#")]).await;
    limit(&pond, "full", 1, WhenFull::Refuse).await;
    topic.publish("", work(1)).await.unwrap();
    let refused = topic.publish("", work(2)).await;
    assert!(matches!(&refused, Err(Error::QueueFull { queue, .. }) if queue == "full"), "{refused:?}");
    let in_tx = pond
        .transaction(|tx| {
            assert!(matches!(tx.publish("t", "", work(2)), Err(Error::QueueFull { .. })));
            Ok(tx.enqueue("other", work(3))?)
        })
        .await;
    in_tx.unwrap();
    assert_eq!((pending(&pond, "a"), pending(&pond, "full"), pending(&pond, "z")), (1, 1, 1));
    assert_eq!((pending(&pond, "other"), pond.metrics().published_total), (1, 1));
}

#[tokio::test]
async fn a_message_waits_for_room_in_all_of_its_queues() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("a", "#"), ("full", "#")]).await;
    limit(&pond, "full", 1, WhenFull::Wait).await;
    let first = topic.publish("", work(1)).await.unwrap();
    let second = tokio::spawn(topic.publish("", work(2)));
    tokio::task::yield_now().await;
    settled(&pond).await;
    assert!(!second.is_finished());
    assert_eq!(pending(&pond, "a"), 1);
    pond.cancel(first.job_in("full").unwrap(), "room").await.unwrap();
    assert_eq!(queues(&second.await.unwrap().unwrap()), ["a", "full"]);
    assert_eq!((pending(&pond, "a"), pending(&pond, "full")), (2, 1));
}

#[tokio::test]
async fn a_message_that_has_waited_goes_where_the_bindings_lead_by_then() {
    for hooks in [false, true] {
        let (_, pond) = memory_with(|builder| if hooks { builder.on_enqueue(|_, job| Ok(job)) } else { builder });
        let topic = topic(&pond, &[("full", "#"), ("old", "#")]).await;
        limit(&pond, "full", 1, WhenFull::Wait).await;
        let first = topic.publish("", work(1)).await.unwrap();
        let second = tokio::spawn(topic.publish("", work(2)));
        tokio::task::yield_now().await;
        settled(&pond).await;
        topic.unbind(Binding::to("old").key("#")).await.unwrap();
        topic.bind(Binding::to("new").key("#")).await.unwrap();
        pond.cancel(first.job_in("full").unwrap(), "room").await.unwrap();
        assert_eq!(queues(&second.await.unwrap().unwrap()), ["full", "new"], "hooks: {hooks}");
        assert_eq!((pending(&pond, "old"), pending(&pond, "new")), (1, 1));
    }
}

#[tokio::test]
async fn a_binding_of_the_same_transaction_is_seen_and_undone_with_it() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("a", "#")]).await;
    let run = |fail: bool| {
        pond.transaction(move |tx| {
            assert!(tx.bind("t", Binding::to("b").key("x"))?);
            assert!(tx.unbind("t", Binding::to("a").key("#"))?);
            let published = tx.publish("t", "x", work(1))?;
            if fail { Err("undone".into()) } else { Ok(published) }
        })
    };
    assert!(run(true).await.is_err());
    assert_eq!(topic.bindings().unwrap(), [Binding::to("a").key("#")]);
    assert_eq!(queues(&topic.publish("x", work(1)).await.unwrap()), ["a"]);
    assert!(pond.queues().iter().all(|queue| queue.name() != "b"), "the queue of the undone binding is not there");

    assert_eq!(queues(&run(false).await.unwrap()), ["b"]);
    assert_eq!(topic.bindings().unwrap(), [Binding::to("b").key("x")]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn messages_and_bindings_of_one_batch_are_as_if_they_had_run_in_order() {
    for hooks in [false, true] {
        let disk = SimDisk::new();
        let builder = Millpond::builder();
        let builder = if hooks { builder.on_enqueue(|_, job| Ok(job)) } else { builder };
        let pond = builder.open_backend(disk.clone()).unwrap();
        let topic = topic(&pond, &[("a", "#")]).await;
        let held = hold_writer(&pond, &disk).await;
        // The caller has matched the message before the binding is there.
        let before = tokio::spawn(topic.publish("x", work(1)));
        tokio::task::yield_now().await;
        let bound = tokio::spawn(topic.bind(Binding::to("b").key("x")));
        tokio::task::yield_now().await;
        let after = tokio::spawn(topic.publish("x", work(2)));
        tokio::task::yield_now().await;
        // A batch that is undone, and made again without the transaction that fails.
        let fails = tokio::spawn(pond.transaction(|tx| {
            tx.bind("t", Binding::to("c").key("x"))?;
            Err::<(), _>("undone".into())
        }));
        tokio::task::yield_now().await;
        let last = tokio::spawn(topic.publish("x", work(3)));
        tokio::task::yield_now().await;
        disk.release_syncs();
        held.await.unwrap().unwrap();
        assert_eq!(queues(&before.await.unwrap().unwrap()), ["a"], "hooks: {hooks}");
        assert!(bound.await.unwrap().unwrap() && fails.await.unwrap().is_err());
        assert_eq!(queues(&after.await.unwrap().unwrap()), ["a", "b"], "hooks: {hooks}");
        assert_eq!(queues(&last.await.unwrap().unwrap()), ["a", "b"], "hooks: {hooks}");
        assert_eq!((pending(&pond, "a"), pending(&pond, "b")), (3, 2));
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_commit_that_fails_leaves_the_old_bindings() {
    let (disk, clock) = (SimDisk::new(), ManualClock::new());
    let again = disk.clone();
    let pond = Millpond::builder().clock(clock.clone()).seed(0).open_backend_with(move || Ok(again.clone())).unwrap();
    let topic = topic(&pond, &[("a", "#")]).await;
    disk.fail(Fault::lasting(&[Op::Write], Failure::Io));
    topic.bind(Binding::to("b").key("#")).await.unwrap_err();
    assert_eq!(topic.bindings().unwrap().len(), 1);
    disk.repair();
    let mut events = pond.events();
    while pond.degraded().is_some() {
        clock.advance(SECOND);
        if let Some(Ok(Event::Healed)) = events.next().await {
            break;
        }
    }
    assert_eq!(queues(&topic.publish("", work(1)).await.unwrap()), ["a"]);
    assert_eq!(topic.bindings().unwrap().len(), 1);
    assert_sound(&pond).await;
}

// --- the file -----------------------------------------------------------------------------------

#[tokio::test]
async fn topics_survive_a_reopen_and_a_crash() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let topic = topic(&pond, &[("mail", "order.*"), ("log", "#")]).await;
    topic.bind(Binding::to("x").headers_all([("a", "1")]).headers_any([("b", "2"), ("b", "3")])).await.unwrap();
    topic.configure(TopicSettings::default().alternate("lost")).await.unwrap();
    let check = |pond: &Millpond| {
        let topic = pond.topic("t").unwrap();
        assert_eq!(matched(&topic, "order.created"), ["log", "mail"]);
        assert_eq!(topic.matches("", &[("a", "1"), ("b", "3")]).unwrap().queues, ["log", "x"]);
        assert_eq!(topic.settings().unwrap().alternate.as_deref(), Some("lost"));
        let topics = pond.topics().unwrap();
        assert_eq!((topics.len(), topics[0].bindings), (1, 3));
    };
    check(&pond);
    let crashed = disk.crashed("crashed.redb");
    check(&crashed);
    assert_sound(&crashed).await;
    close(crashed).await;
    close(pond).await;
    let pond = disk.open();
    check(&pond);
    assert_eq!(queues(&pond.topic("t").unwrap().publish("order.paid", work(1)).await.unwrap()), ["log", "mail"]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn bindings_follow_a_queue_that_is_renamed() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let topic = topic(&pond, &[("old", "a")]).await;
    topic.configure(TopicSettings::default().alternate("old")).await.unwrap();
    pond.queue("old").unwrap().rename("new").await.unwrap();
    let check = |topic: &Topic| {
        assert_eq!(topic.bindings().unwrap(), [Binding::to("new").key("a")]);
        assert_eq!(topic.settings().unwrap().alternate.as_deref(), Some("new"));
    };
    check(&topic);
    assert_eq!(queues(&topic.publish("a", work(1)).await.unwrap()), ["new"]);
    assert!(topic.unbind(Binding::to("new").key("a")).await.unwrap());
    topic.bind(Binding::to("new").key("a")).await.unwrap();
    close(pond).await;
    let pond = disk.open();
    check(&pond.topic("t").unwrap());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_queue_with_bindings_is_only_removed_with_them() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("gone", "a"), ("gone", "b"), ("stays", "a")]).await;
    topic.configure(TopicSettings::default().alternate("gone")).await.unwrap();
    let gone = pond.queue("gone").unwrap();
    let refused = gone.remove().await;
    assert!(matches!(refused, Err(Error::QueueNotEmpty { jobs: 0, bindings: 3, .. })), "{refused:?}");
    topic.publish("a", work(1)).await.unwrap();

    let obliterated = gone.obliterate().await.unwrap();
    assert_eq!((obliterated.jobs, obliterated.bindings), (1, 3));
    assert_eq!(topic.bindings().unwrap(), [Binding::to("stays").key("a")]);
    assert_eq!(topic.settings().unwrap(), TopicSettings::default());
    // The next queue gets the number of the removed one.
    pond.enqueue("next", work(1)).await.unwrap();
    assert_eq!(queues(&topic.publish("a", work(1)).await.unwrap()), ["stays"]);
    assert!(topic.publish("b", work(1)).await.unwrap().is_unrouted());

    topic.unbind(Binding::to("stays").key("a")).await.unwrap();
    pond.queue("stays").unwrap().drain().await.unwrap();
    assert!(pond.queue("stays").unwrap().remove().await.unwrap());
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_queue_that_is_removed_meanwhile_gets_nothing() {
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    let topic = topic(&pond, &[("gone", "#"), ("stays", "#")]).await;
    let held = hold_writer(&pond, &disk).await;
    let gone = pond.queue("gone").unwrap();
    let removed = tokio::spawn(gone.obliterate());
    tokio::task::yield_now().await;
    let published = tokio::spawn(topic.publish("", work(1)));
    tokio::task::yield_now().await;
    disk.release_syncs();
    held.await.unwrap().unwrap();
    removed.await.unwrap().unwrap();
    let published = published.await.unwrap().unwrap();
    assert!(published.job_in("stays").is_some());
    for delivery in &published.jobs {
        // Either it came first, and its job in the removed queue went with that, or there is none.
        let there = pond.job(delivery.job).map(|job| job.queue);
        assert!(matches!(there.as_deref(), Ok("stays") | Err(Error::NoSuchJob { .. })), "{there:?}");
    }
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_binding_that_cannot_be_read_is_quarantined_and_the_others_stay() {
    let disk = OnDisk::new();
    let pond = disk.open();
    topic(&pond, &[("a", "#"), ("b", "#"), ("c", "#")]).await;
    pond.transaction(|tx| {
        let mut bindings = tx.unguarded().open_table(BINDINGS)?;
        let mut row = bindings.get(("t", 1))?.unwrap().value().to_vec();
        *row.last_mut().unwrap() ^= 1;
        bindings.insert(("t", 1), row.as_slice())?;
        Ok(())
    })
    .await
    .unwrap();
    let verification = pond.verify().await.unwrap();
    assert!(verification.problems[0].contains("binding 1 of topic \"t\" cannot be read"), "{verification:?}");
    close(pond).await;

    let pond = disk.open();
    let rows = pond.quarantine().list(0, 10).unwrap();
    assert_eq!((rows.len(), rows[0].table.as_str()), (1, "bindings"));
    let topic = pond.topic("t").unwrap();
    assert_eq!(matched(&topic, "x"), ["a", "c"]);
    topic.bind(Binding::to("b").key("#")).await.unwrap();
    assert_eq!(matched(&topic, "x"), ["a", "b", "c"]);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_topic_whose_row_cannot_be_read_keeps_its_bindings() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let topic = topic(&pond, &[("a", "#")]).await;
    topic.configure(TopicSettings::default().mandatory(true)).await.unwrap();
    pond.transaction(|tx| {
        tx.unguarded().open_table(TOPICS)?.insert("t", [1, 2, 3].as_slice())?;
        Ok(())
    })
    .await
    .unwrap();
    assert!(!pond.verify().await.unwrap().is_ok());
    close(pond).await;
    let pond = disk.open();
    let topic = pond.topic("t").unwrap();
    assert_eq!((matched(&topic, "x"), topic.settings().unwrap()), (vec!["a".to_owned()], TopicSettings::default()));
    assert_eq!(pond.quarantined().unwrap(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_file_without_topics_can_be_read_by_earlier_builds() {
    let version = |disk: &OnDisk| {
        const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");
        let db = redb::Database::open(disk.path()).unwrap();
        let row = db.begin_read().unwrap().open_table(META).unwrap().get("schema").unwrap().unwrap();
        *row.value().last().unwrap()
    };
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    assert_eq!(version(&disk), 4);
    let pond = disk.open();
    topic(&pond, &[("q", "#")]).await;
    close(pond).await;
    assert_eq!(version(&disk), 7);
}

// --- limits and mistakes ------------------------------------------------------------------------

#[tokio::test]
async fn keys_and_bindings_that_are_not_accepted_are_refused_by_name() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("q", "#")]).await;
    let (long, many) = ("k".repeat(256), vec!["w"; 65].join("."));
    for key in [&long, &many] {
        assert!(matches!(topic.publish(key, work(1)).await, Err(Error::InvalidRoutingKey { .. })));
        assert!(matches!(topic.matches(key, &[]), Err(Error::InvalidRoutingKey { .. })));
        assert!(matches!(topic.bind(Binding::to("q").key(key)).await, Err(Error::InvalidRoutingKey { .. })));
    }
    assert!(matches!(topic.bind(Binding::to("q").key("a.>.b")).await, Err(Error::InvalidBinding { .. })));
    assert!(matches!(topic.bind(Binding::to("no queue")).await, Err(Error::InvalidName { what: "queue", .. })));
    assert!(matches!(topic.bind(Binding::to("q").headers_all([("", "x")])).await, Err(Error::InvalidHeader { .. })));
    let alternate = TopicSettings::default().alternate("no queue");
    assert!(matches!(topic.configure(alternate).await, Err(Error::InvalidName { what: "queue", .. })));
    assert!(matches!(pond.topic("no topic"), Err(Error::InvalidName { what: "topic", .. })));
    let in_tx = pond.transaction(|tx| Ok(tx.publish("no topic", "", work(1))?)).await;
    assert!(matches!(in_tx, Err(Error::Aborted { .. })));
    let invalid = topic.publish("", NewJob::raw("k", vec![0; 64 << 20])).await;
    assert!(matches!(invalid, Err(Error::PayloadTooLarge { .. })), "{invalid:?}");
    assert_eq!((pond.queues().len(), topic.bindings().unwrap().len()), (1, 1));
}

#[tokio::test]
async fn a_file_has_a_limit_of_topics() {
    let (_, pond) = memory();
    let refused = pond
        .transaction(|tx| {
            for n in 0..1_024 {
                tx.bind(&format!("topic-{n}"), Binding::to("q"))?;
            }
            let refused = tx.bind("one-more", Binding::to("another"));
            assert!(matches!(refused, Err(Error::TooManyTopics { max: 1_024, .. })), "{refused:?}");
            Ok(())
        })
        .await;
    refused.unwrap();
    assert_eq!((pond.topics().unwrap().len(), pond.queues().len()), (1_024, 1));
}

#[tokio::test]
async fn a_message_of_more_queues_than_a_call_has_jobs_is_refused() {
    let (_, pond) = memory();
    pond.transaction(|tx| {
        (0..10_001).try_for_each(|n| tx.bind("t", Binding::to(format!("q{n}"))).map(drop))?;
        Ok(())
    })
    .await
    .unwrap();
    let topic = pond.topic("t").unwrap();
    assert!(matches!(topic.publish("", work(1)).await, Err(Error::BatchTooLarge { jobs_max: 10_000, .. })));
    topic.unbind(Binding::to("q0")).await.unwrap();
    assert_eq!(topic.publish("", work(1)).await.unwrap().jobs.len(), 10_000);
    assert_eq!(pond.jobs(&JobFilter::new(), None, 1).unwrap().jobs.len(), 1);
}

#[tokio::test]
async fn hostile_patterns_do_not_delay_a_message() {
    let (_, pond) = memory();
    // A matcher that tries all that each `#` can stand for would take longer than the age of the universe.
    pond.transaction(|tx| {
        for n in 0..200 {
            let words: Vec<_> = (0..31).map(|at| if (n >> (at % 8)) & 1 == 0 { "#.a" } else { "#.*" }).collect();
            tx.bind("t", Binding::to(format!("q{}", n % 7)).key(words.join(".") + ".#.b"))?;
        }
        Ok(())
    })
    .await
    .unwrap();
    let topic = pond.topic("t").unwrap();
    let key = vec!["a"; 64].join(".");
    assert!(topic.publish(&key, work(1)).await.unwrap().is_unrouted());
    let key = vec!["a"; 63].join(".") + ".b";
    assert_eq!(topic.publish(&key, work(1)).await.unwrap().jobs.len(), 7);
}

#[tokio::test]
async fn messages_and_changes_of_bindings_from_many_tasks_agree() {
    let (_, pond) = memory();
    let topic = topic(&pond, &[("always", "#")]).await;
    let (delivered, sometimes) = (Arc::new(AtomicUsize::new(0)), Binding::to("sometimes").key("#"));
    let mut tasks = Vec::new();
    for task in 0..8 {
        let (topic, delivered, sometimes) = (topic.clone(), delivered.clone(), sometimes.clone());
        tasks.push(tokio::spawn(async move {
            for n in 0..50 {
                match task {
                    0 => drop(topic.bind(sometimes.clone()).await.unwrap()),
                    1 => drop(topic.unbind(sometimes.clone()).await.unwrap()),
                    _ => {
                        let published = topic.publish("x", work(n)).await.unwrap();
                        assert!(published.job_in("always").is_some());
                        delivered.fetch_add(usize::from(published.job_in("sometimes").is_some()), Ordering::SeqCst);
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pending(&pond, "always"), 300);
    assert_eq!(pending(&pond, "sometimes") as usize, delivered.load(Ordering::SeqCst));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn random_messages_reach_the_queues_of_a_slow_matcher() {
    fn slow(pattern: &[&str], key: &[&str]) -> bool {
        match pattern {
            [] => key.is_empty(),
            ["#", rest @ ..] => (0..=key.len()).any(|n| slow(rest, &key[n..])),
            ["*", rest @ ..] => !key.is_empty() && slow(rest, &key[1..]),
            [word, rest @ ..] => key.first() == Some(word) && slow(rest, &key[1..]),
        }
    }
    fn words(text: &str) -> Vec<&str> {
        if text.is_empty() { Vec::new() } else { text.split('.').collect() }
    }
    let (_, pond) = memory();
    let topic = topic(&pond, &[]).await;
    topic.configure(TopicSettings::default()).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut bindings: BTreeMap<(String, String), ()> = BTreeMap::new();
    let text = |rng: &mut fastrand::Rng, words: &[&str]| {
        (0..rng.usize(..5)).map(|_| words[rng.usize(..words.len())]).collect::<Vec<_>>().join(".")
    };
    for _ in 0..400 {
        let pattern = text(&mut rng, &["a", "b", "", "*", "#"]);
        let queue = format!("q{}", rng.u8(..5));
        let binding = Binding::to(&queue).key(&pattern);
        match rng.u8(..3) {
            0 => {
                let is_new = bindings.insert((queue, pattern), ()).is_none();
                assert_eq!(topic.bind(binding).await.unwrap(), is_new);
            }
            1 => {
                let was_there = bindings.remove(&(queue, pattern)).is_some();
                assert_eq!(topic.unbind(binding).await.unwrap(), was_there);
            }
            _ => {
                let key = text(&mut rng, &["a", "b", "c", ""]);
                let published = topic.publish(&key, work(1)).await.unwrap();
                let hit = |(_, pattern): &&(String, String)| slow(&words(pattern), &words(&key));
                let mut expected: Vec<_> = bindings.keys().filter(hit).map(|(queue, _)| queue.as_str()).collect();
                expected.dedup();
                assert_eq!(queues(&published), expected, "{key:?} by {bindings:?}");
            }
        }
    }
    assert_sound(&pond).await;
}
