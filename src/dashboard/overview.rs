//! Everything at a glance.

use crate::Millpond;

use super::api::{Limit, Overview, Problem, Totals};
use super::history::Histories;
use super::jobs::time;
use super::{facts, queues};

pub(super) fn overview(pond: &Millpond, histories: &Histories) -> Result<Overview, Problem> {
    let mut listed = Vec::new();
    for queue in pond.queues() {
        listed.push(queues::row(&queue, histories)?);
    }
    listed.sort_by(|a, b| a.name.cmp(&b.name));
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
        storage: facts::storage(pond)?,
        process: facts::process(pond)?,
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

/// A number that is another one when something has changed. It is a sum of numbers that only grow, so no two changes hide
/// each other; the last bit tells whether the queue is degraded. `changes` counts what is in no commit.
pub(super) fn revision(pond: &Millpond, changes: u64) -> u64 {
    let metrics = pond.metrics();
    let attempts = metrics.starts_total + metrics.completed_total + metrics.failed_total;
    let grown = metrics.commits_total + attempts + metrics.link_changes_total + changes;
    2 * grown + u64::from(pond.degraded().is_some())
}
