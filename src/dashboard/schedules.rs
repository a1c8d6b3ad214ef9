//! Schedules.

use crate::{Millpond, ScheduleInfo};

use super::api::{Paging, Problem, Schedule, SchedulePage};
use super::body;
use super::jobs::time;
use super::redact::Redact;

/// Times of the next runs that are shown of one schedule.
const UPCOMING: usize = 10;

pub(super) fn list(pond: &Millpond, page: &Paging, redact: &Redact) -> Result<SchedulePage, Problem> {
    let schedules = pond.schedules();
    let found = schedules.list(page.start().unwrap_or_default(), page.entries())?;
    // A page can be short although more follow.
    let next = match found.last() {
        Some(last) if !schedules.list(&last.name, 1)?.is_empty() => Some(last.name.clone()),
        _ => None,
    };
    let schedules_shown = found.into_iter().map(|schedule| shown(schedule, redact)).collect();
    Ok(SchedulePage { total: schedules.count()?, schedules: schedules_shown, next })
}

pub(super) fn get(pond: &Millpond, name: &str, redact: &Redact) -> Result<Schedule, Problem> {
    let schedules = pond.schedules();
    let schedule = shown(schedules.get(name)?, redact);
    let upcoming = schedules.next(name, UPCOMING)?.into_iter().map(time).collect();
    Ok(Schedule { upcoming, ..schedule })
}

fn shown(schedule: ScheduleInfo, redact: &Redact) -> Schedule {
    Schedule {
        when: schedule.when,
        misfire: format!("{:?}", schedule.misfire),
        overlap: format!("{:?}", schedule.overlap),
        jitter_seconds: schedule.jitter.as_secs_f64(),
        starts_at: schedule.starts_at.map(time),
        ends_at: schedule.ends_at.map(time),
        at_most: schedule.at_most,
        payload: body::of_payload(&schedule.payload, &schedule.queue, &schedule.kind, redact),
        queue: schedule.queue,
        kind: schedule.kind,
        is_paused: schedule.paused,
        held: schedule.held,
        runs: schedule.runs,
        last: schedule.last.map(time),
        next: schedule.next.map(time),
        upcoming: Vec::new(),
        last_job: schedule.last_job.map(|id| id.to_string()),
        created_at: time(schedule.created_at),
        changed_at: time(schedule.changed_at),
        name: schedule.name,
    }
}
