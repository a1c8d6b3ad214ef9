//! Follow-up jobs of a plugin: only the granted ones, within their limits, and committed with the completion or not
//! at all.

use millpond::{Grant, JobFilter, Millpond, NewJob, Plugin, PluginLimits, State};

use super::guest::module_with;
use super::outcomes::ran;
use crate::support::*;

/// Enqueues its payload as a job of kind "next" into its own queue, and returns the answer.
fn enqueues(end: &str) -> Plugin {
    let body = format!(
        "(call $enqueue (call $new_job (i32.const 1024) (i32.const 4) (local.get $p) (local.get $n)) (i32.const 256))
         (if (i32.load8_u (i32.const 256)) (then
             (i32.store8 (i32.const 300) (i32.add (i32.const 48) (i32.load8_u (i32.const 260))))
             (return (call $dead_letter (i32.const 300) (i32.const 1)))))
         {end}"
    );
    Plugin::from_bytes("guest", module_with(&body, r#"(data (i32.const 1024) "next")"#)).unwrap()
}

const DONE: &str = "(call $ok (i32.load (i32.const 260)) (i32.load (i32.const 264)))";

fn next(pond: &Millpond) -> Vec<millpond::JobInfo> {
    pond.jobs(&JobFilter::new().kind("next"), None, 100).unwrap().jobs
}

#[tokio::test]
async fn a_granted_follow_up_is_committed_with_the_completion() {
    let (_, pond) = memory();
    let id = ran(&pond, enqueues(DONE).grant(Grant::enqueue("next")), r#"{"n":7}"#).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"1+1"[..]));
    let jobs = next(&pond);
    assert_eq!((jobs.len(), jobs[0].queue.as_str(), jobs[0].generation), (1, "q", 1));
    assert_eq!(jobs[0].payload.decode::<Work>().unwrap(), Work { n: 7 }, "a typed handler can read it");
}

#[tokio::test]
async fn a_follow_up_without_a_grant_is_denied() {
    for grant in [None, Some(Grant::enqueue("other")), Some(Grant::enqueue("next").to_queue("elsewhere"))] {
        let (_, pond) = memory();
        let plugin = enqueues(DONE);
        let plugin = grant.into_iter().fold(plugin, Plugin::grant);
        let id = ran(&pond, plugin, "x").await;
        assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some("0"), "access-denied");
        assert!(next(&pond).is_empty());
    }
}

#[tokio::test]
async fn an_attempt_that_does_not_complete_has_no_follow_ups() {
    for end in ["unreachable", "(call $retry (i32.const 0) (i32.const 0))"] {
        let (_, pond) = memory();
        ran(&pond, enqueues(end).grant(Grant::enqueue("next")), "x").await;
        assert!(next(&pond).is_empty(), "{end}");
    }
}

#[tokio::test]
async fn follow_ups_are_limited_in_number_and_size() {
    for limits in [PluginLimits::default().follow_ups(0), PluginLimits::default().follow_up_bytes(4)] {
        let (_, pond) = memory();
        let id = ran(&pond, enqueues(DONE).grant(Grant::enqueue("next")).limits(limits), "12345").await;
        assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some("2"), "quota-exceeded");
    }
    let (_, pond) = memory_with(|builder| builder.payload_bytes_max(5));
    let longer =
        "(call $enqueue (call $new_job (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 6)) (i32.const 256))
        (i32.store8 (i32.const 300) (i32.add (i32.const 48) (i32.load8_u (i32.const 260))))
        (call $dead_letter (i32.const 300) (i32.const 1))";
    let longer = Plugin::from_bytes("guest", module_with(longer, r#"(data (i32.const 1024) "next")"#)).unwrap();
    let id = ran(&pond, longer.grant(Grant::enqueue("next")), "x").await;
    assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some("1"), "payload-too-large");
}

#[tokio::test]
async fn a_chain_of_follow_ups_to_the_same_plugin_ends() {
    let (_, pond) = memory();
    let limits = PluginLimits::default().generations(3);
    let feeds = enqueues(DONE).grant(Grant::enqueue("next")).limits(limits);
    pond.worker("q").handle_wasm("next", feeds).start().unwrap();
    pond.enqueue("q", NewJob::raw("next", "x")).await.unwrap();
    drained(&pond).await;
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.enqueued_total, counts.completed_total, counts.dead_total), (4, 3, 1));
    let last = next(&pond).into_iter().find(|job| job.state == State::Dead).unwrap();
    assert_eq!((last.generation, last.reason.as_deref()), (3, Some("2")));
}

/// Makes three follow-ups of 600 KiB each and enqueues the one whose handle is stored at the address `kept`.
fn makes_three(kept: u32) -> Plugin {
    let make = "(call $new_job (i32.const 1024) (i32.const 4) (i32.const 0) (i32.const 614400))";
    let body = format!(
        "(i32.store (i32.const 2048) {make}) (i32.store (i32.const 2052) {make}) (i32.store (i32.const 2056) {make})
         (call $enqueue (i32.load (i32.const {kept})) (i32.const 256))
         (i32.store8 (i32.const 300) (i32.add (i32.const 48) (i32.load8_u (i32.const 260))))
         (if (i32.load8_u (i32.const 256)) (then (return (call $dead_letter (i32.const 300) (i32.const 1)))))
         (call $ok (i32.const 0) (i32.const 1))"
    );
    let large = "(data (i32.const 1024) \"next\") (func $grow (drop (memory.grow 0 (i32.const 20)))) (start $grow)";
    Plugin::from_bytes("guest", module_with(&body, large)).unwrap().grant(Grant::enqueue("next"))
}

#[tokio::test]
async fn follow_ups_count_before_they_are_enqueued() {
    let (_, pond) = memory();
    let id = ran(&pond, makes_three(2048), "x").await;
    assert_eq!(pond.job(id).unwrap().state, State::Completed, "the first is within the limit");
    assert_eq!(next(&pond)[0].payload.bytes.len(), 614_400);
    for over in [2052, 2056] {
        let (_, pond) = memory();
        let id = ran(&pond, makes_three(over), "x").await;
        assert_eq!(
            pond.job(id).unwrap().reason.as_deref(),
            Some("2"),
            "quota-exceeded, and the follow-up was not kept"
        );
        assert!(next(&pond).is_empty());
    }
    let (_, pond) = memory();
    let roomy = PluginLimits::default().follow_up_bytes(2 << 20);
    let id = ran(&pond, makes_three(2056).limits(roomy), "x").await;
    assert_eq!(pond.job(id).unwrap().state, State::Completed);
}
