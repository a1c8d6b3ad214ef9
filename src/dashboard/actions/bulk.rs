//! Actions on all jobs that match.

use crate::{Millpond, Pace, Selection};

use super::super::api::{Done, JobQuery, Problem};
use super::super::dead::ids_in_group;
use super::super::jobs::filter;
use super::super::redact::Redact;
use super::done;

fn select(pond: &Millpond, redact: &Redact, jobs: &JobQuery) -> Result<Selection, Problem> {
    Ok(pond.select(&filter(jobs, redact)?))
}

pub(super) fn cancel(pond: &Millpond, redact: &Redact, jobs: &JobQuery, reason: String) -> Result<Done, Problem> {
    let changed = select(pond, redact, jobs)?.cancel(reason).wait()?.changed;
    Ok(done::jobs(changed, "cancelled"))
}

pub(super) fn run_now(pond: &Millpond, redact: &Redact, jobs: &JobQuery) -> Result<Done, Problem> {
    Ok(done::jobs(select(pond, redact, jobs)?.run_now().wait()?.changed, "due now"))
}

pub(super) fn move_to(pond: &Millpond, redact: &Redact, jobs: &JobQuery, queue: &str) -> Result<Done, Problem> {
    let changed = select(pond, redact, jobs)?.move_to(queue).wait()?.changed;
    Ok(done::jobs(changed, &format!("moved to queue {queue}")))
}

pub(super) fn delete(pond: &Millpond, redact: &Redact, jobs: &JobQuery) -> Result<Done, Problem> {
    Ok(done::jobs(select(pond, redact, jobs)?.delete().wait()?.changed, "removed"))
}

pub(super) fn redrive(pond: &Millpond, redact: &Redact, jobs: &JobQuery, group: Option<&str>) -> Result<Done, Problem> {
    let filter = filter(jobs, redact)?;
    let dead = pond.dead_letters();
    let redriven = match group {
        None => dead.redrive_all(&filter, Pace::default()).wait()?,
        Some(group) => dead.redrive_some(ids_in_group(pond, &filter, group)?, Pace::default()).wait()?,
    };
    Ok(done::jobs(redriven, "redriven"))
}

pub(super) fn purge(pond: &Millpond, redact: &Redact, jobs: &JobQuery, group: Option<&str>) -> Result<Done, Problem> {
    let filter = filter(jobs, redact)?;
    let dead = pond.dead_letters();
    let purged = match group {
        None => dead.purge_all(&filter).wait()?,
        Some(group) => dead.purge_some(ids_in_group(pond, &filter, group)?).wait()?,
    };
    Ok(done::jobs(purged, "purged"))
}
