//! Actions on one job.

use crate::{CancelOutcome, EnqueueStatus, JobId, JobPatch, Millpond, NewJob, Priority, State, Timestamp};

use super::super::api::{self, Change, Done, Problem};
use super::super::queues::seconds;
use super::done::{done, unchanged};
use super::given_payload;

pub(super) fn enqueue(pond: &Millpond, job: api::NewJob) -> Result<Done, Problem> {
    let queue = job.queue.clone();
    let enqueued = pond.enqueue(&queue, new_job(job)?).wait()?;
    let id = enqueued.id;
    let said = match enqueued.status {
        EnqueueStatus::Stored => done(format!("job {id} is in queue {queue}")),
        EnqueueStatus::Replaced => done(format!("job {id}, which waited with the same key, is replaced")),
        EnqueueStatus::Duplicate => unchanged(format!("job {id} has the same key, so none was stored")),
    };
    Ok(Done { id: Some(id.to_string()), ..said })
}

pub(in crate::dashboard) fn new_job(job: api::NewJob) -> Result<NewJob, Problem> {
    let json = Some(job.payload).filter(|payload| job.payload_text.is_none() || !payload.is_null());
    let payload = given_payload(json, job.payload_text)?;
    let mut new = NewJob::json(job.kind, &payload).tags(job.tags).headers(job.headers);
    if let Some(priority) = job.priority {
        new = new.priority(Priority::new(priority)?);
    }
    match (job.delay_seconds, job.run_at) {
        (Some(_), Some(_)) => return Err(Problem::invalid("give `delay_seconds` or `run_at`, not both")),
        (Some(delay), None) => new = new.delay(seconds("delay_seconds", delay)?),
        (None, Some(at)) => new = new.run_at(Timestamp::from_millis(at.0)),
        (None, None) => {}
    }
    if let Some(group) = job.group {
        new = new.group(group);
    }
    if let Some(key) = job.key {
        new = new.unique_key(key);
    }
    if let Some(entry) = job.entry {
        new = new.entry(entry.stream, entry.offset);
    }
    if let Some(key) = job.idempotency_key {
        new = new.idempotency_key(key);
    }
    if let Some(attempts) = job.max_attempts {
        new = new.max_attempts(attempts);
    }
    Ok(new)
}

pub(super) fn cancel(pond: &Millpond, id: JobId, reason: String) -> Result<Done, Problem> {
    Ok(match pond.cancel(id, reason).wait()? {
        CancelOutcome::Cancelled => done(format!("job {id} is cancelled")),
        CancelOutcome::Requested => done(format!("job {id} runs; its handler is asked to stop")),
        CancelOutcome::AlreadyEnded(state) => unchanged(format!("job {id} has ended before: it is {state}")),
    })
}

/// Changes a job that waits, or the payload of a dead letter.
pub(super) fn update(pond: &Millpond, id: JobId, change: Change) -> Result<Done, Problem> {
    let job = pond.job(id)?;
    let payload = given_payload(change.payload, change.payload_text)?.map(|payload| NewJob::json(job.kind, &payload));
    let is_more = change.priority.is_some() || change.tags.is_some() || change.run_at.is_some();
    match payload {
        Some(payload) if job.state == State::Dead && !is_more => pond.dead_letters().edit(id, payload).wait()?,
        payload => {
            let mut patch = JobPatch::new();
            if let Some(payload) = payload {
                patch = patch.payload(payload);
            }
            if let Some(priority) = change.priority {
                patch = patch.priority(Priority::new(priority)?);
            }
            if let Some(tags) = change.tags {
                patch = patch.tags(tags);
            }
            if let Some(at) = change.run_at {
                patch = patch.run_at(Timestamp::from_millis(at.0));
            }
            pond.update(id, patch).wait()?;
        }
    }
    Ok(done(format!("job {id} is changed")))
}
