//! Queues with their limits and groups.

use std::time::Duration;

use crate::{Millpond, RateOverride, WorkerSettings};

use super::api::{
    Circuit, Counts, Group, GroupPage, Overrides, Paging, Problem, Queue, QueueDetail, Rate, RateChange, Worker,
};
use super::history::Histories;
use super::jobs::why_shown;

/// The queue of this name, if anything is stored in it or this process has a worker for it.
pub(super) fn find(pond: &Millpond, name: &str) -> Result<crate::Queue, Problem> {
    let queue = pond.queue(name)?;
    let is_stored = || pond.queues().iter().any(|stored| stored.name() == name);
    if queue.worker_settings().is_some() || is_stored() {
        return Ok(queue);
    }
    Err(Problem::not_found(format!("there is no queue {name:?}: nothing was stored in it, or it was removed")))
}

pub(super) fn row(queue: &crate::Queue, histories: &Histories) -> Result<Queue, Problem> {
    let name = queue.name().to_owned();
    let counts = counts(&queue.counts());
    let circuit = queue.circuit();
    let rates = histories.rates(&name);
    Ok(Queue {
        counts,
        is_paused: queue.is_paused(),
        has_worker: queue.worker_settings().is_some(),
        oldest_ready_seconds: queue.oldest_ready_age()?.map(|age| age.as_secs_f64()),
        circuit: match circuit {
            crate::Circuit::Closed { .. } => None,
            _ => Some(Circuit { is_closed: false, state: circuit.to_string() }),
        },
        rate_limited_for_seconds: queue.rate().available_in().map(|wait| wait.as_secs_f64()),
        has_overrides: !queue.overrides().is_empty() || !queue.paused_kinds().is_empty(),
        enqueued_per_second: rates.enqueued,
        completed_per_second: rates.completed,
        history: histories.of_queue(&name),
        name,
    })
}

pub(super) fn detail(pond: &Millpond, name: &str, histories: &Histories) -> Result<QueueDetail, Problem> {
    let queue = find(pond, name)?;
    let (worker, overrides) = (queue.worker_settings(), queue.overrides());
    let tokens = queue.rate().available();
    Ok(QueueDetail {
        queue: row(&queue, histories)?,
        effective: worker.as_ref().map(|worker| worker_shown(&worker.with(&overrides))),
        worker: worker.as_ref().map(worker_shown),
        overrides: overrides_shown(&overrides),
        paused_kinds: queue.paused_kinds(),
        links: super::links::of_queue(pond, name),
        tokens: tokens.is_finite().then_some(tokens),
        settings: serde_json::to_value(queue.settings()).unwrap_or_default(),
    })
}

pub(super) fn groups(pond: &Millpond, name: &str, page: &Paging) -> Result<GroupPage, Problem> {
    let page = find(pond, name)?.groups(page.start(), page.entries())?;
    let groups = page.groups.into_iter().map(|group| Group {
        name: group.name,
        is_paused: group.paused,
        held_by: group.held_by.map(|id| id.to_string()),
        jobs: group.jobs,
        next: group.next.map(|id| id.to_string()),
        why: why_shown(&group.why).sentence,
    });
    Ok(GroupPage { groups: groups.collect(), next: page.next })
}

pub(super) fn counts(counts: &crate::Counts) -> Counts {
    Counts {
        pending: counts.pending,
        running: counts.running,
        ending: counts.ending,
        scheduled: counts.scheduled,
        retrying: counts.retrying,
        blocked: counts.blocked,
        completed: counts.completed,
        dead: counts.dead,
        cancelled: counts.cancelled,
        bytes: counts.bytes,
        enqueued_total: counts.enqueued_total,
        completed_total: counts.completed_total,
        failures_total: counts.failures_total,
    }
}

fn worker_shown(worker: &WorkerSettings) -> Worker {
    Worker {
        concurrency: worker.concurrency as u64,
        rate: worker.rate.map(rate_shown),
        group_rate: worker.group_rate.map(rate_shown),
        circuit_breaker: worker.circuit_breaker.map(breaker),
        group_circuit_breaker: worker.group_circuit_breaker.map(breaker),
    }
}

fn breaker(breaker: crate::CircuitBreaker) -> String {
    let crate::CircuitBreaker { share, of, open_for, .. } = breaker;
    format!("opens for {open_for:?} when {}% of {of} attempts have failed", share * 100.0)
}

fn rate_shown(rate: crate::Rate) -> Rate {
    Rate { count: rate.count, period_seconds: rate.period.as_secs_f64(), burst: rate.burst }
}

fn overrides_shown(overrides: &crate::Overrides) -> Overrides {
    let change = |rate| match rate {
        RateOverride::Limited(rate) => RateChange::Limited(rate_shown(rate)),
        RateOverride::Unlimited => RateChange::Unlimited,
    };
    Overrides {
        concurrency: overrides.concurrency,
        rate: overrides.rate.map(change),
        group_rate: overrides.group_rate.map(change),
    }
}

/// The overrides that an operator asks for.
pub(super) fn overrides(asked: &Overrides) -> Result<crate::Overrides, Problem> {
    let mut overrides = crate::Overrides::new();
    if let Some(jobs) = asked.concurrency {
        overrides = overrides.concurrency(jobs);
    }
    match asked.rate {
        Some(RateChange::Limited(rate)) => overrides = overrides.rate(rate_of(rate)?),
        Some(RateChange::Unlimited) => overrides = overrides.no_rate(),
        None => {}
    }
    match asked.group_rate {
        Some(RateChange::Limited(rate)) => overrides = overrides.group_rate(rate_of(rate)?),
        Some(RateChange::Unlimited) => overrides = overrides.no_group_rate(),
        None => {}
    }
    Ok(overrides)
}

fn rate_of(rate: Rate) -> Result<crate::Rate, Problem> {
    let made = crate::Rate::new(rate.count, seconds("period_seconds", rate.period_seconds)?);
    Ok(rate.burst.map_or(made, |tokens| made.burst(tokens)))
}

/// A duration that a request gives as seconds.
pub(super) fn seconds(field: &str, seconds: f64) -> Result<Duration, Problem> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Problem::invalid(format!("`{field}` is {seconds}: give a number of seconds from 0 on")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_shown_as_they_were_asked_for() {
        let rate = Rate { count: 5, period_seconds: 0.5, burst: Some(9) };
        for asked in [
            Overrides::default(),
            Overrides { concurrency: Some(3), ..Overrides::default() },
            Overrides {
                rate: Some(RateChange::Limited(rate)),
                group_rate: Some(RateChange::Unlimited),
                ..Overrides::default()
            },
        ] {
            assert_eq!(overrides_shown(&overrides(&asked).unwrap()), asked);
        }
        let wrong = Rate { period_seconds: f64::NAN, ..rate };
        let asked = Overrides { rate: Some(RateChange::Limited(wrong)), ..Overrides::default() };
        assert!(overrides(&asked).unwrap_err().detail.contains("period_seconds"));
    }
}
