//! The SDK's host for tests answers as the queue does: a follow-up or a write that passes a plugin's own tests is not
//! refused by the queue for its name or its size.

use millpond::{Binding, Grant, Millpond, NewJob, Plugin, Retry, State, TopicSettings};
use millpond_guest::testing::Host;
use millpond_guest::topics;

use super::built::hostile;
use crate::support::*;

#[path = "../guests/hostile/examples/streams_as_told.rs"]
mod sends;
#[path = "../guests/hostile/examples/enqueue_as_told.rs"]
mod told;

/// What both hosts answer to each of these lines, in one attempt.
async fn answers(told: &str) -> [Vec<String>; 2] {
    let mut mock = Host::new().grant(&["mail", "page@pages"]).job_of("job", "q");
    let mocked = mock.run_raw(told::enqueue_as_told, told);
    let plugin = hostile("enqueue_as_told");
    let plugin = plugin.grant(Grant::enqueue("mail")).grant(Grant::enqueue("page").to_queue("pages"));
    let (_, pond) = memory();
    [mocked.json().unwrap_or_else(|| panic!("{mocked:?}")), real(&pond, plugin, told).await]
}

/// What the queue answers.
async fn real(pond: &Millpond, plugin: Plugin, told: &str) -> Vec<String> {
    let _worker = pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", told.to_owned())).await.unwrap();
    drained(pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    serde_json::from_slice(&job.result.unwrap()).unwrap()
}

fn job(word: usize, is: &str) -> String {
    let mut words = ["job", "mail", "-", "-", "-", "-", "-", "1"];
    words[word] = is;
    words.join("\t")
}

#[tokio::test]
async fn a_follow_up_that_the_queue_refuses_is_refused_by_the_mock_host() {
    let (long, longest) = ("n".repeat(128), "n".repeat(1_024));
    let names = [
        "",
        "ok",
        "a.b:c-d_9",
        ".",
        "..",
        "a b",
        "ada@example.org",
        "é",
        "a/b",
        "\u{202e}",
        &long,
        &format!("{long}n"),
        &longest,
        &format!("{longest}n"),
    ];
    let names = names.iter().flat_map(|name| (1..=4).map(|word| job(word, name)));
    let numbers =
        [(5, "0"), (5, "9"), (5, "10"), (5, "255"), (6, "0"), (6, "1"), (7, "0"), (7, "2000000"), (7, "900000")];
    let numbers = numbers.map(|(word, is)| job(word, is));
    let granted = ["job\tpage\t-\t-\t-\t-\t-\t1", "job\tpage\tpages\t-\t-\t-\t-\t1", "job\tmail\tpages\t-\t-\t-\t-\t1"];
    let told: Vec<_> = names.chain(numbers).chain(granted.map(str::to_owned)).collect();
    let [mocked, real] = answers(&told.join("\n")).await;
    for ((line, mocked), real) in told.iter().zip(&mocked).zip(&real) {
        assert_eq!(mocked, real, "{line:?}");
    }
    assert_eq!((mocked.len(), real.len()), (told.len(), told.len()));
    for refusal in ["AccessDenied", "Other", "QuotaExceeded", "1+1"] {
        assert!(real.iter().any(|answer| answer == refusal), "{refusal}: {real:?}");
    }
}

#[tokio::test]
async fn too_many_follow_ups_and_too_large_state_are_refused_by_the_mock_host() {
    let told = vec![job(1, "mail"); 102].join("\n");
    let [mocked, real] = answers(&told).await;
    assert_eq!((real[99].as_str(), real[100].as_str()), ("1+100", "QuotaExceeded"));
    assert_eq!(mocked, real);
    let sizes = [(0, 1), (1, 0), (256, 1), (257, 1), (1, 64 << 10), (1, (64 << 10) + 1), (257, (64 << 10) + 1)];
    let told = sizes.map(|(key, value)| format!("set\t{key}\t{value}")).join("\n");
    let [mocked, real] = answers(&told).await;
    assert_eq!(real[..4], ["KeyTooLarge", "set", "set", "KeyTooLarge"]);
    assert_eq!(mocked, real);
}

#[tokio::test]
async fn an_option_that_the_queue_refuses_is_refused_by_the_mock_host() {
    let (tag, name) = ("t".repeat(64), "n".repeat(128));
    let (long_tag, long_name) = (format!("{tag}t"), format!("{name}n"));
    let month = (30 * 24 * 3600 * 1_000_000_000_u64).to_string();
    let longer = (30 * 24 * 3600 * 1_000_000_000_u64 + 1).to_string();
    let most = u64::MAX.to_string();
    let options: [&[&str]; 62] = [
        &["tag", ""],
        &["tag", "ok"],
        &["tag", "a b"],
        &["tag", "\0"],
        &["tag", "\u{85}"],
        &["tag", &tag],
        &["tag", &long_tag],
        &["tag", "a", "tag", "a"],
        &["tags", "16"],
        &["tags", "17"],
        &["tags", "16", "tags", "16"],
        &["tags", "16", "tag", "another"],
        &["header", ""],
        &["header", "\0"],
        &["header", &name],
        &["header", &long_name],
        &["headers", "100"],
        &["headers", "5000"],
        &["value", "0"],
        &["value", "4092"],
        &["value", "4093"],
        &["value", "1100000"],
        &["value", "4000", "headers", "40"],
        &["value", "4000", "headers", "70"],
        &["expiry", "0"],
        &["expiry", &most],
        &["timeout", "0"],
        &["timeout", "1"],
        &["weight", "0"],
        &["weight", "7"],
        &["key", "k", "for", "0"],
        &["key", "k", "for", &month],
        &["key", "k", "for", &longer],
        &["for", "1"],
        &["started", ""],
        &["started", "", "for", "1"],
        &["replace", ""],
        &["replace", "", "for", "1"],
        &["throttle", "0"],
        &["throttle", "1"],
        &["throttle", &month],
        &["throttle", &longer],
        &["throttle-replace", "1"],
        &["throttle", "1", "group", "g"],
        &["throttle", "1", "delay", "5"],
        &["latest", ""],
        &["latest", "", "group", "g"],
        &["latest", "", "delay", "5"],
        &["latest-debounce", "1"],
        &["debounce", "0"],
        &["debounce", "5"],
        &["debounce", "6"],
        &["debounce", "5", "delay", "5"],
        &["debounce", "5", "delay", "0"],
        &["debounce", "5", "group", "g"],
        &["started", "", "key", ""],
        &["started", "", "key", "a\0b"],
        &["group", "\0"],
        &["tag", "", "key", ""],
        &["weight", "0", "tags", "17"],
        &["timeout", &most],
        &["expiry", "1", "delay", "5"],
    ];
    let told: Vec<String> =
        options.iter().map(|words| ["with"].iter().chain(*words).copied().collect::<Vec<_>>().join("\t")).collect();
    let [mocked, real] = answers(&told.join("\n")).await;
    for ((line, mocked), real) in told.iter().zip(&mocked).zip(&real) {
        assert_eq!(mocked, real, "{line:?}");
    }
    assert_eq!((mocked.len(), real.len()), (told.len(), told.len()));
    assert!(real.iter().filter(|answer| *answer == "Other").count() > 20, "{real:?}");
    assert!(real.iter().filter(|answer| answer.starts_with("1+")).count() > 20, "{real:?}");
}

#[tokio::test]
async fn a_batch_that_the_queue_refuses_is_refused_by_the_mock_host() {
    let many = |sizes: &[&str]| ["many"].iter().chain(sizes).copied().collect::<Vec<_>>().join("\t");
    let told = [
        many(&["1", "2"]),
        many(&["1", "-", "2"]),
        many(&["1", "2000000", "-"]),
        many(&["600000", "600000"]),
        many(&["600000", "1"]),
        many(&["600000"]),
        many(&["1"; 97]),
        many(&["1"; 96]),
        many(&["1"]),
        many(&["1"; 1_001]),
    ];
    let [mocked, real] = answers(&told.join("\n")).await;
    assert_eq!(mocked, real);
    let refused = ["1 AccessDenied", "1 QuotaExceeded", "1 QuotaExceeded"];
    assert_eq!((real[0].as_str(), &real[1..4]), ("1+1 1+2", &refused.map(str::to_owned)[..]));
    assert_eq!(
        (real[4].as_str(), real[5].as_str(), real[6].as_str()),
        ("1+3 1+4", "0 QuotaExceeded", "96 QuotaExceeded")
    );
    assert_eq!((real[8].as_str(), real[9].as_str()), ("0 QuotaExceeded", "1000 QuotaExceeded"));
}

#[tokio::test]
async fn labels_that_fill_the_quota_are_refused_by_the_mock_host() {
    let told = ["with\theaders\t1000"; 20].join("\n");
    let [mocked, real] = answers(&told).await;
    assert_eq!(mocked, real);
    assert_eq!(real.iter().position(|answer| answer == "QuotaExceeded"), Some(15), "{real:?}");
}

/// What both hosts answer to each of these lines of entries and messages, in one attempt.
async fn sent(told: &str) -> [Vec<String>; 2] {
    let mut mock = Host::new().grant(&["mail"]).grant_append(&["sum@sums"]).job_of("job", "q");
    mock = mock.grant_publish(&["ship@orders", "ship@none", "ship@must"]);
    mock = mock.refusing_topic("none", topics::Error::NoSuchTopic).refusing_topic("must", topics::Error::Unroutable);
    let mocked = mock.run_raw(sends::streams_as_told, told);
    let (_, pond) = memory();
    pond.topic("orders").unwrap().bind(Binding::to("other")).await.unwrap();
    pond.topic("must").unwrap().configure(TopicSettings::default().mandatory(true)).await.unwrap();
    let plugin = hostile("streams_as_told").grant(Grant::enqueue("mail")).grant(Grant::append("sum").to_stream("sums"));
    let publish = |topic: &str| Grant::publish("ship").to_topic(topic);
    let plugin = plugin.grant(publish("orders")).grant(publish("none")).grant(publish("must"));
    [mocked.json().unwrap_or_else(|| panic!("{mocked:?}")), real(&pond, plugin, told).await]
}

#[tokio::test]
async fn an_entry_or_message_that_the_queue_refuses_is_refused_by_the_mock_host() {
    let (long, words) = ("k".repeat(1_025), vec!["w"; 65].join("."));
    let month = (30 * 24 * 3600 * 1_000_000_000_u64 + 1).to_string();
    let options = [
        "queue\tq",
        "queue\t",
        "key\tk",
        "key\t",
        &format!("key\t{long}"),
        "tag\tt",
        "tag\t",
        "header\th",
        "header\t",
        "value\t4092",
        "value\t4093",
        "delay\t0",
        "delay\t5",
        "priority\t5",
        "priority\t10",
        "attempts\t0",
        "attempts\t1",
        "unique\tk",
        "unique\t",
        "latest\tk",
        "latest\tk\tkey\tk",
        "for\t1",
        "unique\tk\tfor\t1",
        &format!("unique\tk\tfor\t{month}"),
        "expiry\t1",
        "timeout\t0",
        "timeout\t1",
        "weight\t0",
        "weight\t1",
    ];
    let places = ["append\tsum\tsums", "publish\tship\torders\torder.x"];
    let with = options.iter().flat_map(|option| places.iter().map(move |place| format!("{place}\t1\t{option}")));
    let others = [
        "append\tsum\tothers\t1",
        "append\tother\tsums\t1",
        "append\t\tsums\t1",
        "append\tsum\t\t1",
        "publish\tship\tothers\tx\t1",
        "publish\tother\torders\tx\t1",
        "publish\tship\tnone\tx\t1",
        "publish\tship\tmust\tx\t1",
        "publish\tship\torders\t\t1",
        &format!("publish\tship\torders\t{}\t1", &long[..255]),
        &format!("publish\tship\torders\t{}\t1", &long[..256]),
        &format!("publish\tship\torders\t{words}\t1"),
        &format!("publish\tship\torders\t{}\t1", &words[2..]),
        "append\tsum\tsums\t2000000",
        "publish\tship\torders\tx\t2000000",
        "entry",
    ];
    let told: Vec<String> = with.chain(others.iter().map(|line| (*line).to_owned())).collect();
    let [mocked, real] = sent(&told.join("\n")).await;
    for ((line, mocked), real) in told.iter().zip(&mocked).zip(&real) {
        assert_eq!(mocked, real, "{line:?}");
    }
    assert_eq!((mocked.len(), real.len()), (told.len(), told.len()));
    for answer in ["ok", "AccessDenied", "Other", "QuotaExceeded", "NoSuchTopic", "Unroutable", "none"] {
        assert!(real.iter().any(|said| said == answer), "{answer}: {real:?}");
    }
}

#[tokio::test]
async fn too_many_jobs_entries_and_messages_are_refused_by_the_mock_host() {
    let lines = ["enqueue\tmail\t1", "append\tsum\tsums\t1", "publish\tship\torders\tx\t1"];
    let told: Vec<&str> = lines.into_iter().cycle().take(102).collect();
    let [mocked, real] = sent(&told.join("\n")).await;
    assert_eq!((real[99].as_str(), real[100].as_str()), ("ok", "QuotaExceeded"));
    assert_eq!(mocked, real);
}
