//! The log lines on what becomes of jobs and of the queue. `docs/logging.md` lists them.

use std::time::Duration;

use super::engine::Engine;
use crate::error::panics::catch;
use crate::events::Event;
use crate::executor::Attempt;
use crate::job::{State, Transition};
use crate::text::told;
use crate::time::Now;
use crate::writer::More;

/// An attempt has ended. What follows is on its way to the disk.
pub(super) fn attempt_ended(ended: &Attempt, transition: Transition, more: Option<&More>, took: Duration, now: Now) {
    let facts = &ended.facts;
    let (id, queue, kind, attempt) = (facts.id.get(), &*facts.queue, &*facts.kind, facts.attempt);
    let extra = more.and_then(|more| more.record.extra.as_deref());
    let error = || told(extra.and_then(|extra| extra.errors.last()).map_or("", |error| &error.message));
    let reason = || told(extra.and_then(|extra| extra.reason.as_deref()).unwrap_or_default());
    match transition {
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
        Transition::End(State::Cancelled) => {
            tracing::info!(id, queue, kind, attempt, ?took, reason = %reason(), "cancelled")
        }
        Transition::End(_) => {
            tracing::warn!(id, queue, kind, attempt, ?took, reason = %reason(), error = %error(), "dead");
        }
        // An attempt ends in none of the others.
        _ => {}
    }
}

/// What recovery has done to jobs that a crash cut short.
pub(super) fn recovered(events: &[Event]) {
    for event in events {
        if let Event::Dead { id, queue, kind, reason, error, .. } = event {
            let error = told(error.as_deref().unwrap_or_default());
            tracing::warn!(id = id.get(), queue = &**queue, kind = &**kind, reason = %told(reason), %error, "dead");
        }
    }
}

/// The queue stops. A subscriber that panics must not keep it from that.
pub(super) fn stopping(running: usize) {
    let _ = catch(|| tracing::info!(running, "stopping: {running} jobs run"));
}

/// The stop has taken back so many jobs.
pub(super) fn taken_back(jobs: usize) {
    if jobs > 0 {
        let _ = catch(|| tracing::warn!(jobs, "stopping: jobs that still run go back into their queues"));
    }
}

/// The file is closed.
pub(super) fn closed() {
    let _ = catch(|| tracing::info!("closed"));
}

/// The queue is open. The counts are those of all its queues.
pub(super) fn opened(engine: &Engine) {
    if !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let catalog = &engine.store.catalog;
    let (mut waiting, mut dead) = (0, 0);
    for queue in catalog.stored_queues() {
        let tally = catalog.row(queue).tally;
        waiting += tally.unfinished();
        dead += tally.dead;
    }
    let path = engine.store.path().map(|path| told(&path.to_string_lossy()).into_owned());
    tracing::info!(path, waiting, dead, "open: {waiting} jobs wait, {dead} are dead");
}
