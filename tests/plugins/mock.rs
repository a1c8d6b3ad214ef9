//! The SDK's host for tests answers as the queue does: a follow-up or a write that passes a plugin's own tests is not
//! refused by the queue for its name or its size.

use millpond::{Grant, NewJob, Retry, State};
use millpond_guest::testing::Host;

use super::built::hostile;
use crate::support::*;

#[path = "../guests/hostile/examples/enqueue_as_told.rs"]
mod told;

/// What both hosts answer to each of these lines, in one attempt.
async fn answers(told: &str) -> [Vec<String>; 2] {
    let mut mock = Host::new().grant(&["mail", "page@pages"]).job_of("job", "q");
    let mocked = mock.run_raw(told::enqueue_as_told, told);
    let (_, pond) = memory();
    let plugin = hostile("enqueue_as_told");
    let plugin = plugin.grant(Grant::enqueue("mail")).grant(Grant::enqueue("page").to_queue("pages"));
    let _worker = pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", told.to_owned())).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    let real = serde_json::from_slice(&job.result.unwrap()).unwrap();
    [mocked.json().unwrap_or_else(|| panic!("{mocked:?}")), real]
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
