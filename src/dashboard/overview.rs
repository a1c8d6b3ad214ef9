//! Everything at a glance.

use crate::Millpond;

use super::api::{Limit, Overview, Problem, Process, Storage, Totals};
use super::history::Histories;
use super::jobs::time;
use super::{not_known, queues};

pub(super) fn overview(pond: &Millpond, histories: &Histories) -> Result<Overview, Problem> {
    let mut listed = Vec::new();
    for queue in pond.queues() {
        listed.push(queues::row(&queue, histories)?);
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let running = listed.iter().map(|queue| queue.counts.running).sum();
    let limits = pond.limits().into_iter().map(|limit| Limit {
        name: limit.name,
        units: u64::from(limit.units),
        used: limit.used,
    });
    Ok(Overview {
        now: time(pond.now()),
        degraded: pond.degraded(),
        is_paused: pond.is_paused(),
        queues: listed,
        totals: totals(pond),
        storage: storage(pond),
        process: Process {
            id: std::process::id(),
            running,
            max_running: not_known::max_running(pond),
            stuck: pond.metrics().stuck,
            opened_at: not_known::opened_at(pond),
        },
        limits: limits.collect(),
        quarantined: pond.quarantined()?,
        schedules: pond.schedules().count()?,
        history: histories.of_all(),
    })
}

fn totals(pond: &Millpond) -> Totals {
    let metrics = pond.metrics();
    Totals {
        started: metrics.starts_total,
        completed: metrics.completed_total,
        failed: metrics.failed_total,
        panics: metrics.panics_total,
        timeouts: metrics.timeouts_total,
        deduplicated: metrics.deduplicated_total,
        pruned: metrics.pruned_total,
    }
}

fn storage(pond: &Millpond) -> Storage {
    let metrics = pond.metrics();
    Storage { commits: metrics.commits_total, compactions: metrics.compactions_total, ..not_known::storage(pond) }
}

/// A number that is another one when something has changed. It is a sum of numbers that only grow, so no two changes hide
/// each other; the last bit tells whether the queue is degraded. `changes` counts what is in no commit.
pub(super) fn revision(pond: &Millpond, changes: u64) -> u64 {
    let metrics = pond.metrics();
    let attempts = metrics.starts_total + metrics.completed_total + metrics.failed_total;
    let grown = metrics.commits_total + attempts + changes;
    2 * grown + u64::from(pond.degraded().is_some())
}
