//! One test for each hostile guest: the table is in `tests/guests/README.md`.
//!
//! A limit is shown to hold by a guest that exceeds it, and by the same guest that succeeds where the limit is lifted
//! or the harm is left out.

mod abi;
mod calls;
mod memory;
mod neighbours;
mod refused;
mod texts;
mod time;

use bytes::Bytes;
use millpond::{FailureKind, JobInfo, Millpond, NewJob, Plugin, PluginLimits, Retry, State};

use super::built::{from_bytes, noop};
use super::state::kept;
use crate::support::*;

fn limits() -> PluginLimits {
    PluginLimits::default()
}

/// The result of one job of `plugin`. Asserts that nothing else is affected: nothing was written that should not be,
/// and the next job of another plugin runs.
async fn contained(plugin: Plugin, payload: impl Into<Bytes>) -> JobInfo {
    let (_, pond) = memory();
    pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", payload)).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(kept(&pond), [], "{job:?}");
    assert_eq!(pond.queue("q").unwrap().counts().enqueued_total, 1, "{job:?}");
    assert_unaffected(&pond).await;
    job
}

/// Another plugin runs as if nothing had happened.
async fn assert_unaffected(pond: &Millpond) {
    let good = Plugin::from_bytes("good", noop()).unwrap();
    pond.worker("afterwards").handle_wasm("job", good).start().unwrap();
    pond.enqueue("afterwards", NewJob::raw("job", "")).await.unwrap();
    drained(pond).await;
    assert_eq!(pond.queue("afterwards").unwrap().counts().completed_total, 1);
}

/// The kind of the attempt's failure, and the message that the operator reads.
async fn failure(plugin: Plugin, payload: impl Into<Bytes>) -> (FailureKind, String) {
    let job = contained(plugin, payload).await;
    assert_eq!(job.state, State::Dead, "{job:?}");
    (job.errors[0].kind, job.errors[0].message.clone())
}

/// The result of a completed job, as text.
async fn result(plugin: Plugin, payload: impl Into<Bytes>) -> String {
    let job = contained(plugin, payload).await;
    assert_eq!(job.state, State::Completed, "{job:?}");
    String::from_utf8(job.result.unwrap_or_default().into()).unwrap()
}

/// The reason with which the guest made its job a dead letter.
async fn reason(plugin: Plugin, payload: impl Into<Bytes>) -> String {
    let job = contained(plugin, payload).await;
    assert_eq!(job.state, State::Dead, "{job:?}");
    job.reason.unwrap()
}
