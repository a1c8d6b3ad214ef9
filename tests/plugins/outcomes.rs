//! The outcome that a plugin returns has the same effect as one that a Rust function returns.

use std::time::Duration;

use millpond::{Explanation, FailureKind, JobId, JobInfo, Millpond, NewJob, Plugin, Retry, State};

use super::guest::{self, ECHO, NOTHING, SPIN, TRAP, plugin};
use crate::support::*;

/// One job with `payload` that `plugin` has run, until nothing is due.
pub async fn ran(pond: &Millpond, plugin: Plugin, payload: &'static str) -> JobId {
    pond.worker("q").retry(Retry::fixed(HOUR).jitter(0.0)).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap();
    drained(pond).await;
    id.id
}

pub async fn info(plugin: Plugin, payload: &'static str) -> JobInfo {
    let (_, pond) = memory();
    let id = ran(&pond, plugin, payload).await;
    pond.job(id).unwrap()
}

#[tokio::test]
async fn bytes_that_a_plugin_returns_are_the_result() {
    let job = info(plugin(ECHO), "as it is").await;
    assert_eq!((job.state, job.result.as_deref()), (State::Completed, Some(&b"as it is"[..])));
}

#[tokio::test]
async fn a_plugin_that_returns_no_bytes_has_no_result() {
    let (_, pond) = memory();
    let id = ran(&pond, plugin(NOTHING), "x").await;
    assert!(pond.job(id).is_err(), "a completed job without a result is not kept");
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn a_component_runs_like_its_core_module() {
    let component = guest::component(&guest::module(ECHO));
    let job = info(Plugin::from_bytes("guest", component).unwrap(), "abc").await;
    assert_eq!(job.result.as_deref(), Some(&b"abc"[..]));
}

#[tokio::test]
async fn a_retry_follows_the_backoff_or_the_delay_of_the_plugin() {
    let job = info(plugin("(call $retry (local.get $p) (local.get $n))"), "no luck").await;
    let error = &job.errors[0];
    assert_eq!((job.state, error.kind, error.message.as_str()), (State::Retrying, FailureKind::Error, "no luck"));

    let (_, pond) = memory();
    let in_a_minute = "(call $retry_after (local.get $p) (local.get $n) (i64.const 60000000000))";
    let id = ran(&pond, plugin(in_a_minute), "no luck").await;
    assert!(matches!(pond.explain(id).unwrap(), Explanation::NotDue { wait, .. } if wait == Duration::from_secs(60)));
}

#[tokio::test]
async fn a_dead_letter_has_the_reason_of_the_plugin() {
    let job = info(plugin("(call $dead_letter (local.get $p) (local.get $n))"), "card expired").await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Dead, Some("card expired")));
}

#[tokio::test]
async fn a_cancel_ends_the_job_as_cancelled_with_the_reason_of_the_plugin() {
    let job = info(plugin("(call $cancel (local.get $p) (local.get $n))"), "the account was closed").await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some("the account was closed")));
}

#[tokio::test]
async fn a_snooze_uses_no_attempt() {
    let job = info(plugin("(call $snooze (i64.const 60000000000))"), "x").await;
    assert_eq!((job.state, job.attempts, job.snoozes), (State::Scheduled, 0, 1));
}

#[tokio::test]
async fn a_trap_is_a_failed_attempt_with_its_name_and_the_last_log_line() {
    let job = info(plugin(TRAP), "x").await;
    let error = &job.errors[0];
    assert_eq!((job.state, error.kind), (State::Retrying, FailureKind::Trap));
    assert!(error.message.starts_with("wasm trap: wasm `unreachable`"), "{}", error.message);

    let last_words = "(call $log (i32.const 4) (local.get $p) (local.get $n)) unreachable";
    let job = info(plugin(last_words), "panicked at src/lib.rs:7").await;
    assert!(job.errors[0].message.ends_with(": panicked at src/lib.rs:7"), "{}", job.errors[0].message);
}

#[tokio::test]
async fn a_plugin_that_never_returns_is_ended_by_its_time_limit() {
    let (clock, pond) = memory();
    let limits = millpond::PluginLimits::default().time(SECOND);
    pond.worker("q").no_timeout().retry(Retry::none()).handle_wasm("job", plugin(SPIN).limits(limits)).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    running(&pond, "q", 1).await;
    clock.advance(SECOND);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Timeout));
    assert_eq!(job.errors[0].message, "the attempt ran longer than its timeout of 1s");
}
