//! Each attempt has a fresh instance, unless the plugin is set to reuse instances.

use millpond::{Millpond, NewJob, Plugin, Retry};

use super::guest::{module, module_with};
use crate::support::*;

/// Counts its calls in its memory, and returns the count as a digit.
const CALLS: &str = "(i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))
    (i32.store8 (i32.const 2052) (i32.add (i32.load (i32.const 2048)) (i32.const 48)))";

async fn calls(pond: &Millpond, plugin: Plugin, payloads: &[&'static str]) -> String {
    let worker = pond.worker("q").concurrency(1).retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let ids = pond.enqueue_many("q", payloads.iter().map(|payload| NewJob::raw("job", *payload))).await.unwrap();
    drained(pond).await;
    worker.stop();
    let results = ids
        .into_iter()
        .map(|id| pond.job(id).unwrap().result.map_or("-".into(), |r| String::from_utf8(r.into()).unwrap()));
    results.collect()
}

fn counting() -> Plugin {
    let body =
        format!("{CALLS} (if (i32.eqz (local.get $n)) (then unreachable)) (call $ok (i32.const 2052) (i32.const 1))");
    Plugin::from_bytes("guest", module(&body)).unwrap()
}

#[tokio::test]
async fn a_fresh_instance_remembers_nothing() {
    let (_, pond) = memory();
    assert_eq!(calls(&pond, counting(), &["a", "b", "c"]).await, "111");
}

#[tokio::test]
async fn an_instance_is_reused_up_to_its_limit_and_never_after_a_trap() {
    let (_, pond) = memory();
    assert_eq!(calls(&pond, counting().reuse(3), &["a", "b", "c", "d", "e"]).await, "12312");
    let (_, pond) = memory();
    assert_eq!(calls(&pond, counting().reuse(9), &["a", "b", "", "d"]).await, "12-1");
}

#[tokio::test]
async fn the_limits_of_a_reused_instance_start_anew_with_each_attempt() {
    let body = format!("{CALLS} (drop (call $number)) (drop (call $number)) (call $ok (i32.const 2052) (i32.const 1))");
    let (_, pond) = memory();
    let limits = millpond::PluginLimits::default().host_calls(2);
    let plugin = Plugin::from_bytes("guest", module_with(&body, "")).unwrap().limits(limits).reuse(9);
    assert_eq!(calls(&pond, plugin, &["a", "b", "c"]).await, "123");
}

#[tokio::test]
async fn another_version_runs_in_another_instance() {
    let (_, pond) = memory();
    let worker = pond.worker("q").concurrency(1).handle_wasm("job", counting().reuse(9)).start().unwrap();
    let run = async |payload: &'static str| {
        let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap();
        drained(&pond).await;
        pond.job(id).unwrap().result.unwrap()
    };
    assert_eq!((run("a").await, run("b").await), ("1".into(), "2".into()));
    let again = format!("{CALLS} (nop) (call $ok (i32.const 2052) (i32.const 1))");
    worker.plugin("job").unwrap().reload(module(&again)).unwrap();
    assert_eq!(run("c").await, "1");
}
