//! Time: a guest that computes for ever, wherever it does so.

use millpond::{FailureKind, PluginError};

use super::*;
use crate::built::{hostile, raw, raw_text, register};
use crate::places::{alone, places};
use crate::told::heard;

/// Asserts that the attempt runs until its time is over and not longer, and that another plugin's job runs meanwhile.
async fn assert_ends_at_its_time_limit(plugin: Plugin, payload: &'static str) {
    const LAST: std::time::Duration = std::time::Duration::from_millis(1);
    let (clock, pond) = memory();
    let timed = plugin.limits(limits().time(SECOND));
    let worker = pond.worker("q").no_timeout().retry(Retry::none()).handle_wasm("job", timed).start().unwrap();
    let good = Plugin::from_bytes("good", noop()).unwrap();
    pond.worker("good").handle_wasm("job", good).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap();
    running(&pond, "q", 1).await;
    pond.enqueue("good", NewJob::raw("job", "")).await.unwrap();
    while pond.queue("good").unwrap().counts().completed_total == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(SECOND - LAST);
    settled(&pond).await;
    assert_eq!(pond.job(id).unwrap().state, State::Running);
    clock.advance(LAST);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Timeout), "{job:?}");
    let hash = worker.plugin("job").unwrap().hash();
    assert_eq!(job.plugins, [(1, hash)], "it had begun");
    assert_eq!(kept(&pond), []);
    assert_unaffected(&pond).await;
}

#[tokio::test]
async fn an_infinite_loop_ends_at_its_time_limit() {
    assert_ends_at_its_time_limit(hostile("infinite_loop"), "").await;
}

#[tokio::test]
async fn a_loop_before_the_handler_ends_at_its_time_limit() {
    assert_ends_at_its_time_limit(from_bytes(raw(&raw_text("endless_start"))), "").await;
}

#[tokio::test]
async fn a_loop_in_the_allocator_ends_at_its_time_limit() {
    assert_ends_at_its_time_limit(from_bytes(raw(&raw_text("endless_allocator"))), "payload").await;
}

#[tokio::test]
async fn a_loop_after_the_answer_ends_at_its_time_limit() {
    assert_ends_at_its_time_limit(from_bytes(raw(&raw_text("endless_cleanup"))), "").await;
}

#[tokio::test]
async fn bulk_operations_end_at_their_time_limit_and_are_bounded_by_memory() {
    assert_ends_at_its_time_limit(hostile("bulk_operation"), "32").await;
    assert_eq!(failure(hostile("bulk_operation"), "200").await.0, FailureKind::MemoryLimit);
}

/// `web.rs` tests a guest that is granted hosts.
#[test]
fn fetching_is_refused_by_name() {
    let refused = register(Ok(hostile("fetch"))).unwrap_err();
    let import = match refused {
        PluginError::FeatureOff { import, feature: "wasm-http" } => import,
        PluginError::MissingGrant { import, .. } => import,
        other => panic!("{other:?}"),
    };
    assert_eq!(import, "millpond:jobs/outbound-http@0.1.3");
}

#[test]
fn waiting_for_a_place_uses_none_of_an_attempts_time() {
    alone("threats::time::alone_an_attempt_waits_while_all_places_are_used");
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn alone_an_attempt_waits_while_all_places_are_used() {
    let (clock, pond) = memory();
    // With the plugin's own place. One more attempt waits, which shows that all places are in use.
    let places = places() + 1;
    let spins = hostile("infinite_loop").limits(limits().time(SECOND * 10));
    pond.worker("spins").concurrency(places + 1).retry(Retry::none()).handle_wasm("job", spins).start().unwrap();
    let (lines, _heard) = heard();
    let waits_for_a_place = async |plugin: &str| {
        let line = format!("{plugin} waits for a place");
        while !lines.all().iter().any(|heard| heard.starts_with(&line)) {
            tokio::task::yield_now().await;
        }
    };
    pond.enqueue_many("spins", (0..=places).map(|_| NewJob::raw("job", ""))).await.unwrap();
    waits_for_a_place("guest").await;

    let either = crate::guest::module(
        "(if (local.get $n) (then (loop $again (br $again)))) (call $ok (i32.const 0) (i32.const 0))",
    );
    let late = Plugin::from_bytes("late", either).unwrap().limits(limits().time(SECOND * 5));
    pond.worker("q").concurrency(2).retry(Retry::none()).handle_wasm("job", late).start().unwrap();
    // The first attempt uses the place that the plugin has for itself.
    pond.enqueue("q", NewJob::raw("job", "spin")).await.unwrap();
    pond.enqueue("q", NewJob::raw("job", "")).await.unwrap();
    waits_for_a_place("late").await;
    // More than the time of the waiting attempt, which has used none of it.
    clock.advance(SECOND * 10);
    let counts = |queue| pond.queue(queue).unwrap().counts();
    while counts("spins").dead < places as u64 {
        tokio::task::yield_now().await;
    }
    clock.advance(SECOND * 10);
    drained(&pond).await;
    assert_eq!((counts("spins").dead, counts("q").completed_total, counts("q").dead), (places as u64 + 1, 1, 1));
}
