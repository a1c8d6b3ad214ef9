//! The log lines about the ends of attempts and about the queue's opening and stop. `docs/logging.md` lists them.

use std::time::Duration;

use crate::error::panics::catch;
use crate::events::Event;
use crate::executor::Attempt;
use crate::job::{State, Transition};
use crate::storage::Store;
use crate::text::told;
use crate::time::Now;
use crate::writer::More;

/// Logs that an attempt has ended. Its end is not durable yet.
///
/// `undoes` says that the job is to end, and undoes its steps first.
pub(super) fn attempt_ended(
    ended: &Attempt,
    transition: Transition,
    undoes: bool,
    more: Option<&More>,
    took: Duration,
    now: Now,
) {
    let facts = &ended.facts;
    let (id, queue, kind, attempt) = (facts.id().get(), &*facts.queue, &*facts.kind, facts.attempt);
    let error = || told(more.and_then(More::error).unwrap_or_default());
    let reason = || told(more.and_then(More::reason).unwrap_or_default());
    match transition {
        _ if undoes => {
            tracing::info!(id, queue, kind, attempt, ?took, reason = %reason(), error = %error(), "undoes its steps");
        }
        Transition::End(State::Completed) if more.is_some_and(|more| !more.hooks.is_empty()) => {
            tracing::debug!(id, queue, kind, attempt, ?took, "its handler has returned: its writes follow");
        }
        Transition::End(State::Completed) => tracing::debug!(id, queue, kind, attempt, ?took, "completed"),
        Transition::PutOff { due, failed: true } => {
            let (max_attempts, delay) = (facts.max_attempts, due.wait(now));
            tracing::info!(id, queue, kind, attempt, max_attempts, ?took, ?delay, error = %error(), "failed, runs again");
        }
        Transition::PutOff { due, .. } => {
            tracing::debug!(id, queue, kind, attempt, ?took, delay = ?due.wait(now), "snoozed")
        }
        Transition::GiveBack { .. } => match more.and_then(|more| more.hold.as_ref()) {
            Some(hold) => {
                let group = hold.key.group.as_deref();
                tracing::info!(id, queue, kind, attempt, group, "rate limited, {:?}", hold.delay);
            }
            None => tracing::debug!(id, queue, kind, attempt, ?took, "given back"),
        },
        Transition::End(State::Cancelled) | Transition::Cancel => {
            tracing::info!(id, queue, kind, attempt, ?took, reason = %reason(), "cancelled")
        }
        Transition::End(_) => {
            tracing::warn!(id, queue, kind, attempt, ?took, reason = %reason(), error = %error(), "dead");
        }
        // No attempt ends in another transition.
        _ => {}
    }
}

/// Logs which jobs recovery has made dead letters after a crash.
pub(super) fn recovered(events: &[Event]) {
    for event in events {
        if let Event::Dead { id, queue, kind, reason, error, .. } = event {
            let error = told(error.as_deref().unwrap_or_default());
            tracing::warn!(id = id.get(), queue = &**queue, kind = &**kind, reason = %told(reason), %error, "dead");
        }
    }
}

/// Logs that the queue stops. A subscriber that panics must not prevent the stop.
pub(super) fn stopping(running: usize) {
    let _ = catch(|| tracing::info!(running, "stopping: {running} jobs run"));
}

/// Logs how many running jobs the stop gives back.
pub(super) fn taken_back(jobs: usize) {
    if jobs > 0 {
        let _ = catch(|| tracing::warn!(jobs, "stopping: jobs that still run go back into their queues"));
    }
}

/// Logs that the file is closed.
pub(super) fn closed() {
    let _ = catch(|| tracing::info!("closed"));
}

/// Logs that the file is open, with counts over all its queues.
pub(super) fn opened(store: &Store) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let catalog = &store.catalog;
    let (mut waiting, mut dead) = (0, 0);
    for queue in catalog.stored_queues() {
        let tally = catalog.row(queue).tally;
        waiting += tally.unfinished();
        dead += tally.dead;
    }
    let path = store.path().map(|path| told(&path.to_string_lossy()).into_owned());
    tracing::info!(path, waiting, dead, "open: {waiting} jobs wait, {dead} are dead");
}
