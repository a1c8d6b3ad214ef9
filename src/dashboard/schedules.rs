//! Schedules.

use crate::{Every, Millpond, Misfire, NewJob, Overlap, ScheduleInfo, SchedulePatch, Timestamp, When};

use super::actions::given_payload;
use super::api::{self, Done, Paging, Problem, Schedule, ScheduleChange, SchedulePage};
use super::body;
use super::jobs::time;
use super::queues::seconds;
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

/// Changes a schedule.
pub(super) fn update(pond: &Millpond, name: &str, change: ScheduleChange) -> Result<Done, Problem> {
    let mut patch = SchedulePatch::new();
    match (change.cron, change.every_seconds) {
        (Some(_), Some(_)) => return Err(Problem::invalid("give `cron` or `every_seconds`, not both")),
        (Some(cron), None) => patch = patch.when(times(&cron, change.zone.as_deref())?),
        (None, Some(every)) => patch = patch.when(Every::new(seconds("every_seconds", every)?)),
        (None, None) => {}
    }
    if let Some(misfire) = change.misfire {
        patch = patch.misfire(match misfire {
            api::Misfire::Skip => Misfire::Skip,
            api::Misfire::All { at_most } => Misfire::All { at_most },
            _ => Misfire::Once,
        });
    }
    if let Some(overlap) = change.overlap {
        patch = patch.overlap(match overlap {
            api::Overlap::Allow => Overlap::Allow,
            api::Overlap::Queue => Overlap::Queue,
            _ => Overlap::Skip,
        });
    }
    if let Some(jitter) = change.jitter_seconds {
        patch = patch.jitter(seconds("jitter_seconds", jitter)?);
    }
    let timestamp = |at: api::Time| Timestamp::from_millis(at.0);
    if let Some(start) = change.starts_at {
        patch = patch.starts_at(start.map(timestamp));
    }
    if let Some(end) = change.ends_at {
        patch = patch.ends_at(end.map(timestamp));
    }
    if let Some(runs) = change.at_most {
        patch = patch.at_most(runs);
    }
    if let Some(payload) = given_payload(change.payload, change.payload_text)? {
        let kind = pond.schedules().get(name)?.kind;
        patch = patch.payload(NewJob::json(kind, &payload));
    }
    pond.schedules().update(name, patch).wait()?;
    Ok(Done { changed: 1, message: format!("schedule {name} is changed"), ..Done::default() })
}

#[cfg(feature = "cron")]
fn times(cron: &str, zone: Option<&str>) -> Result<When, Problem> {
    let cron = crate::Cron::parse(cron)?;
    Ok(zone.map_or(Ok(cron.clone()), |zone| cron.zone(zone))?.into())
}

#[cfg(not(feature = "cron"))]
fn times(_cron: &str, _zone: Option<&str>) -> Result<When, Problem> {
    Err(Problem::new(
        super::api::Code::Unsupported,
        "this program is built without the feature `cron`: give `every_seconds`",
    ))
}

fn shown(schedule: ScheduleInfo, redact: &Redact) -> Schedule {
    Schedule {
        when: schedule.when,
        misfire: match schedule.misfire {
            Misfire::Skip => api::Misfire::Skip,
            Misfire::Once => api::Misfire::Once,
            Misfire::All { at_most } => api::Misfire::All { at_most },
        },
        overlap: match schedule.overlap {
            Overlap::Allow => api::Overlap::Allow,
            Overlap::Skip => api::Overlap::Skip,
            Overlap::Queue => api::Overlap::Queue,
        },
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
