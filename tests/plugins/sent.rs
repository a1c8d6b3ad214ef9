//! Entries and messages of a plugin: only the granted ones, within the limits of follow-ups, and committed with the completion or not
//! at all.

use millpond::{
    Binding, Capacity, Error, FailureKind, Grant, JobInfo, Millpond, NewJob, Plugin, PluginError, PluginLimits,
    QueueSettings, Retry, State, TopicSettings,
};

use super::built::{file, from_bytes, hostile, register};
use crate::support::*;

fn guest() -> Plugin {
    hostile("streams_as_told")
}

/// A plugin that is granted sums in `sums` and ships in `orders`, and jobs of the kind `next`.
fn granted() -> Plugin {
    let guest = guest().grant(Grant::append("sum").to_stream("sums")).grant(Grant::append("sum").to_stream("more"));
    guest.grant(Grant::publish("ship").to_topic("orders")).grant(Grant::enqueue("next"))
}

/// A job of the plugin that was told these lines, after its first attempt.
async fn job(pond: &Millpond, plugin: Plugin, lines: &[&str]) -> JobInfo {
    pond.worker("q").retry(Retry::fixed(HOUR).jitter(0.0)).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", lines.join("\n"))).await.unwrap();
    drained(pond).await;
    pond.job(id).unwrap()
}

/// What it was answered.
async fn told(pond: &Millpond, plugin: Plugin, lines: &[&str]) -> Vec<String> {
    let job = job(pond, plugin, lines).await;
    assert_eq!(job.state, State::Completed, "{job:?}");
    job.result_json().unwrap().unwrap()
}

fn entries(pond: &Millpond, stream: &str) -> Vec<millpond::Entry> {
    match pond.stream(stream).unwrap().read(0, 10_000) {
        Ok(entries) => entries,
        Err(Error::NoSuchStream { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

async fn bound(pond: &Millpond) {
    let orders = pond.topic("orders").unwrap();
    orders.bind(Binding::to("mail").key("order.shipped.*")).await.unwrap();
    orders.bind(Binding::to("warehouse").key("order.#")).await.unwrap();
    orders.bind(Binding::to_stream("history").key("#")).await.unwrap();
}

#[tokio::test]
async fn a_granted_entry_is_appended_with_the_completion() {
    let (_, pond) = memory();
    let lines = ["append\tsum\tsums\t3\tkey\tk\ttag\tt\theader\tname", "append\tsum\tmore\t1", "append\tsum\tsums\t4"];
    assert_eq!(told(&pond, granted(), &lines).await, ["ok"; 3]);
    let [first, second] = &entries(&pond, "sums")[..] else { panic!() };
    assert_eq!((first.kind.as_str(), first.key.as_deref(), first.payload.bytes.len()), ("sum", Some("k"), 3));
    assert_eq!((first.tags.as_slice(), first.headers["name"].as_str()), (&["t".to_owned()][..], "value"));
    assert_eq!((second.offset, second.payload.bytes.len(), entries(&pond, "more").len()), (1, 4, 1));
}

#[tokio::test]
async fn an_entry_without_a_grant_is_denied() {
    let others = [
        None,
        Some(Grant::append("sum").to_stream("others")),
        Some(Grant::append("other").to_stream("sums")),
        Some(Grant::publish("sum").to_topic("sums")),
        Some(Grant::enqueue("sum").to_queue("sums").into()),
    ];
    for grant in others {
        let (_, pond) = memory();
        let plugin = grant.clone().into_iter().fold(guest(), Plugin::grant);
        assert_eq!(told(&pond, plugin, &["append\tsum\tsums\t3"]).await, ["AccessDenied"], "{grant:?}");
        assert!(matches!(pond.stream("sums").unwrap().info(), Err(Error::NoSuchStream { .. })));
    }
}

#[tokio::test]
async fn a_granted_message_is_published_with_the_completion() {
    let (_, pond) = memory();
    bound(&pond).await;
    let options = "delay\t3600000000000\tpriority\t2\tkey\tk\theader\tname";
    let lines = [&format!("publish\tship\torders\torder.shipped.eu\t3\t{options}"), "publish\tship\torders\tother\t1"];
    assert_eq!(told(&pond, granted(), &lines).await, ["ok"; 2]);
    for queue in ["mail", "warehouse"] {
        let jobs = pond.jobs(&millpond::JobFilter::new().queue(queue), None, 10).unwrap().jobs;
        let [ship] = &jobs[..] else { panic!("{queue}: {jobs:?}") };
        assert_eq!((ship.kind.as_str(), ship.state, ship.priority.get()), ("ship", State::Scheduled, 2));
        assert_eq!((ship.group.as_deref(), ship.generation), (Some("k"), 1));
    }
    let history = entries(&pond, "history");
    assert_eq!((history.len(), history[0].key.as_deref(), &*history[0].headers["name"]), (2, Some("k"), "value"));
}

#[tokio::test]
async fn a_message_without_a_grant_is_denied() {
    let others = [
        None,
        Some(Grant::publish("ship").to_topic("others")),
        Some(Grant::publish("other").to_topic("orders")),
        Some(Grant::append("ship").to_stream("orders")),
        Some(Grant::enqueue("ship").to_queue("mail").into()),
    ];
    for grant in others {
        let (_, pond) = memory();
        bound(&pond).await;
        let plugin = grant.clone().into_iter().fold(guest(), Plugin::grant);
        assert_eq!(told(&pond, plugin, &["publish\tship\torders\torder.x\t3"]).await, ["AccessDenied"], "{grant:?}");
        assert_eq!((pond.queue("warehouse").unwrap().counts().pending, entries(&pond, "history").len()), (0, 0));
    }
}

#[tokio::test]
async fn a_message_that_nobody_would_get_is_refused_as_its_topic_says() {
    let (_, pond) = memory();
    let orders = pond.topic("orders").unwrap();
    let ship = "publish\tship\torders\torder.shipped.eu\t3";
    assert_eq!(told(&pond, granted(), &[ship]).await, ["NoSuchTopic"]);
    orders.bind(Binding::to("mail").key("other")).await.unwrap();
    let said = async |pond: &Millpond| {
        let id = pond.enqueue("q", NewJob::raw("job", ship)).await.unwrap();
        drained(pond).await;
        pond.job(id).unwrap().result_json::<Vec<String>>().unwrap().unwrap()
    };
    assert_eq!(said(&pond).await, ["ok"], "nobody gets it, which is no error");
    orders.configure(TopicSettings::default().mandatory(true)).await.unwrap();
    assert_eq!(said(&pond).await, ["Unroutable"]);
    orders.configure(TopicSettings::default().mandatory(true).alternate("lost")).await.unwrap();
    assert_eq!(said(&pond).await, ["ok"]);
    assert_eq!(pond.queue("lost").unwrap().counts().pending, 1);
}

#[tokio::test]
async fn an_attempt_that_does_not_complete_appends_and_publishes_nothing() {
    for end in ["trap", "retry", "dead-letter", "cancel", "snooze"] {
        let (_, pond) = memory();
        bound(&pond).await;
        let lines = ["append\tsum\tsums\t3", "publish\tship\torders\torder.shipped.eu\t3", "enqueue\tnext\t1", end];
        let job = job(&pond, granted(), &lines).await;
        assert_ne!(job.state, State::Completed, "{end}");
        assert!(matches!(pond.stream("sums").unwrap().info(), Err(Error::NoSuchStream { .. })), "{end}");
        assert_eq!(pond.metrics().published_total, 0, "{end}");
        assert_eq!((pond.queue("mail").unwrap().counts().pending, entries(&pond, "history").len()), (0, 0), "{end}");
    }
}

#[tokio::test]
async fn a_queue_that_is_full_at_the_commit_fails_the_attempt_with_all_that_it_has_written() {
    let (_, pond) = memory();
    bound(&pond).await;
    pond.queue("mail").unwrap().configure(QueueSettings::default().capacity(Capacity::jobs(1))).await.unwrap();
    pond.enqueue("mail", work(1)).await.unwrap();
    let lines = ["append\tsum\tsums\t3", "publish\tship\torders\torder.shipped.eu\t3"];
    let job = job(&pond, granted(), &lines).await;
    assert_eq!((job.state, job.errors[0].kind), (State::Retrying, FailureKind::Error), "{job:?}");
    assert!(job.errors[0].message.contains("full"), "{job:?}");
    assert_eq!((entries(&pond, "sums").len(), entries(&pond, "history").len()), (0, 0));
    assert_eq!(pond.queue("warehouse").unwrap().counts().pending, 0);
}

#[tokio::test]
async fn jobs_entries_and_messages_have_one_limit_of_their_number_and_size() {
    let lines =
        ["enqueue\tnext\t3", "append\tsum\tsums\t3", "publish\tship\torders\torder.x\t3", "append\tsum\tsums\t1"];
    let answers = |limit: usize| {
        let is = |n| if n < limit { "ok" } else { "QuotaExceeded" };
        (0..4).map(is).collect::<Vec<_>>()
    };
    for limit in 0..4 {
        let (_, pond) = memory();
        bound(&pond).await;
        let plugin = granted().limits(PluginLimits::default().follow_ups(limit as u32));
        assert_eq!(told(&pond, plugin, &lines).await, answers(limit), "number");
        let (_, pond) = memory();
        bound(&pond).await;
        let plugin = granted().limits(PluginLimits::default().follow_up_bytes(limit * 3));
        let told = told(&pond, plugin, &lines[..3]).await;
        assert_eq!(told, answers(limit)[..3], "bytes");
        assert_eq!(entries(&pond, "sums").len(), usize::from(limit > 1), "bytes");
    }
    let (_, pond) = memory();
    let plugin = granted().limits(PluginLimits::default().follow_up_bytes(70));
    let labels = ["append\tsum\tsums\t3\ttag\ttag\ttag\tother", "append\tsum\tsums\t3\ttag\ttag"];
    assert_eq!(told(&pond, plugin, &labels).await, ["QuotaExceeded", "ok"], "a tag counts as 64 bytes more");
}

#[tokio::test]
async fn a_payload_is_as_long_as_that_of_any_job_may_be() {
    let (_, pond) = memory_with(|builder| builder.payload_bytes_max(100));
    bound(&pond).await;
    let lines = ["append\tsum\tsums\t101", "publish\tship\torders\torder.x\t101", "append\tsum\tsums\t100"];
    assert_eq!(told(&pond, granted(), &lines).await, ["PayloadTooLarge", "PayloadTooLarge", "ok"]);
}

#[tokio::test]
async fn an_option_that_an_entry_cannot_have_is_refused() {
    let options = [
        "queue\tq",
        "delay\t1",
        "priority\t5",
        "attempts\t1",
        "unique\tk",
        "latest\tk",
        "for\t1",
        "expiry\t1",
        "timeout\t1",
        "weight\t1",
    ];
    let lines: Vec<String> = options.iter().map(|option| format!("append\tsum\tsums\t1\t{option}")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (_, pond) = memory();
    assert_eq!(told(&pond, granted(), &lines).await, ["Other"; 10]);
    assert!(entries(&pond, "sums").is_empty());
    let (_, pond) = memory();
    bound(&pond).await;
    let key = format!("publish\tship\torders\t{}\t1", "k".repeat(256));
    let lines = ["publish\tship\torders\torder.x\t1\tqueue\tq", &key, "publish\tship\torders\torder.x\t1\tunique\tk"];
    assert_eq!(told(&pond, granted(), &lines).await, ["Other", "Other", "ok"]);
}

#[tokio::test]
async fn a_hook_for_new_jobs_refuses_a_message_in_the_call() {
    let (_, pond) = memory_with(|builder| {
        builder.on_enqueue(|queue, job| if queue == "mail" { Err("no mail today".into()) } else { Ok(job) })
    });
    bound(&pond).await;
    let lines = ["publish\tship\torders\torder.shipped.eu\t1", "publish\tship\torders\torder.paid\t1"];
    assert_eq!(told(&pond, granted(), &lines).await, ["Other", "ok"]);
    assert_eq!(pond.queue("warehouse").unwrap().counts().pending, 1);
}

#[tokio::test]
async fn a_plugin_that_feeds_its_own_consumer_comes_to_an_end() {
    let (_, pond) = memory();
    let plugin = guest().limits(PluginLimits::default().generations(3)).grant(Grant::append("job").to_stream("loop"));
    pond.consumer("loop", "plugin").worker(|worker| worker.handle_wasm("job", plugin)).start().await.unwrap();
    pond.stream("loop").unwrap().append(NewJob::raw("job", "again\tloop")).await.unwrap();
    drained(&pond).await;
    assert_eq!(entries(&pond, "loop").len(), 4);
}

#[tokio::test]
async fn a_plugin_that_publishes_to_its_own_queue_or_stream_comes_to_an_end() {
    let (_, pond) = memory();
    let plugin = guest().limits(PluginLimits::default().generations(3)).grant(Grant::publish("job").to_topic("loop"));
    let topic = pond.topic("loop").unwrap();
    pond.worker("q").handle_wasm("job", plugin.clone()).start().unwrap();
    pond.consumer("s", "plugin").worker(|worker| worker.handle_wasm("job", plugin)).start().await.unwrap();
    topic.bind(Binding::to("q")).await.unwrap();
    let counted = || (pond.queue("q").unwrap().counts().enqueued_total, entries(&pond, "s").len());
    pond.enqueue("q", NewJob::raw("job", "publish-again\tloop")).await.unwrap();
    drained(&pond).await;
    assert_eq!(counted(), (4, 0));
    topic.unbind(Binding::to("q")).await.unwrap();
    topic.bind(Binding::to_stream("s")).await.unwrap();
    pond.enqueue("q", NewJob::raw("job", "publish-again\tloop")).await.unwrap();
    drained(&pond).await;
    assert_eq!(counted(), (5, 3));
}

#[test]
fn the_grants_are_described_and_checked() {
    let (append, publish) = (Grant::append("sum").to_stream("sums"), Grant::publish("ship").to_topic("orders"));
    assert_eq!(append.to_string(), r#"append "sum" to the stream "sums""#);
    assert_eq!(publish.to_string(), r#"publish "ship" to the topic "orders""#);
    for (grant, of) in [
        (Grant::append("a sum").to_stream("sums"), "grant `append`"),
        (Grant::append("sum").to_stream(""), "grant `append`"),
        (Grant::publish("ship").to_topic("all orders"), "grant `publish`"),
        (Grant::publish("").to_topic("orders"), "grant `publish`"),
    ] {
        let refused = register(Ok(guest().grant(grant)));
        assert!(matches!(&refused, Err(PluginError::Misconfigured { what, .. }) if *what == of), "{refused:?}");
    }
}

#[test]
fn a_check_says_which_grants_are_needed() {
    let imports = guest().check().unwrap().imports;
    let grant = |name: &str| imports.iter().find(|import| import.interface.contains(name)).unwrap().grant;
    assert_eq!(grant("/streams@"), Some("Grant::append(kind).to_stream(name)"));
    assert_eq!(grant("/topics@"), Some("Grant::publish(kind).to_topic(name)"));
    assert_eq!(grant("/enqueue@"), Some("Grant::enqueue(kind)"));
    let transform = from_bytes(file("guest-examples/rust-transform/transform.wasm")).check().unwrap().imports;
    let needs: Vec<_> = transform.iter().filter_map(|import| import.grant).collect();
    assert_eq!(needs, ["Grant::append(kind).to_stream(name)"], "it makes entries and enqueues nothing: {transform:?}");
}
