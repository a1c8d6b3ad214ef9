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
