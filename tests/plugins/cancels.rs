//! A request to cancel a job that a plugin runs: the guest sees it, has the grace to return, and is ended after it.

use millpond::{CancelOutcome, Grant, JobId, JobInfo, Millpond, NewJob, Plugin, PluginLimits, Retry, State};

use super::built::hostile;
use super::guest::{SPIN, plugin};
use crate::support::*;

const WHY: &str = "the order was withdrawn";

/// It asks the host in a loop, more often than other guests may.
fn until_cancelled() -> Plugin {
    hostile("until_cancelled").limits(PluginLimits::default().time(HOUR).host_calls(u32::MAX))
}

/// Starts a job with this payload, and waits until its guest has logged a line.
async fn computing(pond: &Millpond, plugin: Plugin, payload: &'static str) -> JobId {
    pond.worker("q").no_timeout().retry(Retry::fixed(SECOND)).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap().id;
    while pond.job(id).unwrap().logs.is_empty() {
        tokio::task::yield_now().await;
    }
    id
}

/// The job once it has ended. The clock of the queue stands still, so nothing ends it but its guest or the request.
async fn ended(pond: &Millpond, id: JobId) -> JobInfo {
    tokio::time::timeout(SECOND * 60, pond.finished(id)).await.expect("the guest is not ended").unwrap()
}

#[tokio::test]
async fn a_guest_sees_the_request_and_can_still_complete_its_job() {
    let (_, pond) = memory();
    let id = computing(&pond, until_cancelled(), "done").await;
    assert_eq!(pond.cancel(id, WHY).await.unwrap(), CancelOutcome::Requested);
    let job = ended(&pond, id).await;
    assert_eq!((job.state, job.result.as_deref()), (State::Completed, Some(&b"cleaned up"[..])));
}

#[tokio::test]
async fn a_guest_that_returns_anything_else_after_the_request_ends_its_job_as_cancelled() {
    for then in ["retry", "snooze", "limited"] {
        let (clock, pond) = memory();
        let id = computing(&pond, until_cancelled(), then).await;
        pond.cancel(id, WHY).await.unwrap();
        let job = ended(&pond, id).await;
        assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some(WHY)), "{then}");
        clock.advance(HOUR);
        drained(&pond).await;
        assert_eq!(pond.job(id).unwrap().state, State::Cancelled, "{then}: it does not run again");
    }
}

#[tokio::test]
async fn a_guest_that_goes_on_is_ended_after_the_grace() {
    let (clock, pond) = memory_with(|builder| builder.cancel_grace(SECOND * 5));
    let id = computing(&pond, until_cancelled(), "ignore it").await;
    pond.cancel(id, WHY).await.unwrap();
    settled(&pond).await;
    clock.advance(SECOND * 4);
    settled(&pond).await;
    assert_eq!(pond.job(id).unwrap().state, State::Running);
    clock.advance(SECOND);
    let job = ended(&pond, id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some(WHY)));
}

#[tokio::test]
async fn a_guest_that_has_not_asked_is_ended_at_once() {
    let (_, pond) = memory();
    let spins = format!("(call $log (i32.const 2) (i32.const 0) (i32.const 0)) {SPIN}");
    let id = computing(&pond, plugin(&spins).limits(PluginLimits::default().time(HOUR)), "x").await;
    pond.cancel(id, WHY).await.unwrap();
    let job = ended(&pond, id).await;
    assert_eq!((job.state, job.reason.as_deref()), (State::Cancelled, Some(WHY)));
}

#[tokio::test]
async fn what_a_cancelled_guest_has_written_is_dropped() {
    let (_, pond) = memory();
    let body = "(drop (call $is_cancelled))
        (call $log (i32.const 2) (i32.const 0) (i32.const 0))
        (call $enqueue (call $new_job (i32.const 1024) (i32.const 4) (local.get $p) (local.get $n)) (i32.const 256))
        (loop $again (br_if $again (i32.eqz (call $is_cancelled))))
        (call $snooze (i64.const 0))";
    let module = super::guest::module_with(body, r#"(data (i32.const 1024) "next")"#);
    let limits = PluginLimits::default().time(HOUR).host_calls(u32::MAX);
    let plugin = Plugin::from_bytes("guest", module).unwrap().limits(limits).grant(Grant::enqueue("next"));
    let id = computing(&pond, plugin, "x").await;
    pond.cancel(id, WHY).await.unwrap();
    assert_eq!(ended(&pond, id).await.state, State::Cancelled);
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 1);
}
