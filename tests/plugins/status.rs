//! The plugins of an open file are listed with what has become of their attempts, and can be resumed by queue and kind.

use std::time::Duration;

use millpond::{Grant, NewJob, PluginLimits, Retry};
use serde_json::json;

use super::guest::{ECHO, TRAP, plugin};
use crate::support::*;

#[tokio::test]
async fn each_kind_of_each_running_worker_is_listed_with_its_version_limits_and_grants() {
    let (_, pond) = memory();
    assert!(pond.plugins().is_empty());
    let limits = PluginLimits::default().memory_bytes(1 << 20);
    let granted = plugin(ECHO).limits(limits.clone()).grant(Grant::enqueue("resize").to_queue("images"));
    let granted = granted.grant(Grant::enqueue("publish")).grant(Grant::rate_limit());
    let worker = pond.worker("b").handle_wasm("two", granted.clone()).handle_wasm("one", granted).start().unwrap();
    pond.worker("a").handle_wasm("three", plugin(TRAP)).start().unwrap();
    pond.worker("rust").handle_raw("job", |_: millpond::Job<bytes::Bytes>| async { Ok(()) }).start().unwrap();

    let plugins = pond.plugins();
    let places: Vec<_> = plugins.iter().map(|plugin| (plugin.queue.as_str(), plugin.kind.as_str())).collect();
    assert_eq!(places, [("a", "three"), ("b", "one"), ("b", "two")]);
    let one = &plugins[1];
    assert_eq!((one.name.as_str(), one.suspended, one.attempts_total), ("guest", false, 0));
    assert_eq!(one.hash, worker.plugin("one").unwrap().hash());
    assert_eq!(one.limits, limits);
    let granted =
        [r#"enqueue "resize" into "images""#, r#"enqueue "publish" into the queue of its job"#, "limit rates"];
    assert_eq!(one.grants, granted);
    let shown = serde_json::to_value(one).unwrap();
    assert_eq!((&shown["hash"], &shown["grants"][2]), (&json!(one.hash.to_string()), &json!("limit rates")));

    worker.stop().await.unwrap();
    assert_eq!(pond.plugins().len(), 1);
    assert!(pond.plugin("b", "one").is_none());
}

#[tokio::test]
async fn a_suspended_plugin_is_shown_with_its_traps_and_resumed_through_the_pond() {
    let (clock, pond) = memory();
    let limits = PluginLimits::default().traps_in_a_row(3);
    let worker = pond.worker("q").concurrency(1).retry(Retry::none());
    worker.handle_wasm("job", plugin(TRAP).limits(limits)).start().unwrap();
    pond.enqueue_many("q", (0..4).map(|_| NewJob::raw("job", "x"))).await.unwrap();
    drained(&pond).await;

    let suspended = &pond.plugins()[0];
    assert!(suspended.suspended);
    assert_eq!((suspended.attempts_total, suspended.broken_total, suspended.traps_total), (3, 3, 3));
    assert_eq!((suspended.broken_in_a_row, suspended.suspensions_total), (3, 1));
    assert!(pond.plugin("q", "other").is_none() && pond.plugin("other", "job").is_none());
    pond.plugin("q", "job").unwrap().resume();
    let resumed = &pond.plugins()[0];
    assert_eq!((resumed.suspended, resumed.broken_in_a_row, resumed.suspensions_total), (false, 0, 1));
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(pond.plugins()[0].broken_total, 4, "the fourth job runs now");
}

#[tokio::test]
async fn an_attempt_that_exceeds_a_limit_is_broken_and_is_no_trap() {
    let (_, pond) = memory();
    let limits = PluginLimits::default().output_bytes(1);
    let worker = pond.worker("q").retry(Retry::none());
    worker.handle_wasm("job", plugin(ECHO).limits(limits)).start().unwrap();
    pond.enqueue_many("q", [NewJob::raw("job", "x"), NewJob::raw("job", "too long")]).await.unwrap();
    drained(&pond).await;
    let status = &pond.plugins()[0];
    assert_eq!((status.attempts_total, status.broken_total, status.traps_total), (2, 1, 0));
}

#[tokio::test]
async fn the_time_of_computing_and_the_most_memory_of_an_attempt_are_added_up() {
    let pond = millpond::Millpond::builder().open_backend(redb::backends::InMemoryBackend::new()).unwrap();
    pond.worker("q").handle_wasm("job", plugin(ECHO)).start().unwrap();
    assert_eq!((pond.plugins()[0].compute_time_total, pond.plugins()[0].memory_bytes_max), (Duration::ZERO, 0));
    let mut before = Duration::ZERO;
    for _ in 0..2 {
        let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
        pond.finished(id).await.unwrap();
        let status = &pond.plugins()[0];
        assert!(status.compute_time_total > before && status.compute_time_total < HOUR, "{status:?}");
        before = status.compute_time_total;
        assert_eq!(status.memory_bytes_max, 2 * 65_536);
    }
}

#[cfg(feature = "wasm-http")]
#[test]
fn a_grant_of_requests_is_shown_as_an_address() {
    use millpond::Allow;
    let shown = |allow: Allow| Grant::http(allow).to_string();
    assert_eq!(shown(Allow::https("*.example.org")), "send requests to https://*.example.org");
    assert_eq!(shown(Allow::http("::1").port(9200)), "send requests to http://[::1]:9200");
    let private = shown(Allow::http("localhost").private());
    assert_eq!(private, "send requests to http://localhost, also at private addresses");
}
