//! Jobs: which ones a request asks for, and how they are listed and shown.

mod timeline;

use std::str::FromStr;

use serde_json::Value;

use crate::{Cursor, Explanation, JobFilter, JobId, JobInfo, Millpond, Timestamp, Unique};

use super::api::{
    Code, EntryOf, Job, JobPage, JobQuery, JobRecord, JobRecordPage, JobRow, Paging, Problem, Progress, ScheduledFor,
    Time, Why,
};
use super::body;
use super::flows;
use super::queues;
use super::redact::Redact;
use timeline::timeline;

pub(super) fn time(at: Timestamp) -> Time {
    Time(at.as_millis())
}

/// The filter that a query asks for.
///
/// A search by payload would tell what the application hides: whoever asks often enough finds each digit. So there is none
/// where something is hidden.
pub(super) fn filter(query: &JobQuery, redact: &Redact) -> Result<JobFilter, Problem> {
    if redact.is_set() && (query.payload.is_some() || query.pointer.is_some()) {
        let detail = "the application hides parts of payloads here, so jobs cannot be found by their payloads";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    JobFilter::try_from(query)
}

pub(super) fn id(text: &str) -> Result<JobId, Problem> {
    Ok(JobId::from_str(text)?)
}

pub(super) fn list(pond: &Millpond, filter: &JobFilter, page: &Paging, redact: &Redact) -> Result<JobPage, Problem> {
    let cursor = page.start().map(Cursor::from_str).transpose()?;
    let page = pond.jobs(filter, cursor, page.entries())?;
    let jobs = page.jobs.iter().map(|job| row(job, redact)).collect();
    Ok(JobPage { jobs, next: page.next.map(|next| next.to_string()) })
}

pub(super) fn records(
    pond: &Millpond,
    filter: &JobFilter,
    page: &Paging,
    redact: &Redact,
) -> Result<JobRecordPage, Problem> {
    let cursor = page.start().map(Cursor::from_str).transpose()?;
    let page = pond.jobs(filter, cursor, page.entries())?;
    let records = page.jobs.into_iter().map(|job| record(pond, job, redact)).collect::<Result<_, Problem>>()?;
    Ok(JobRecordPage { records, next: page.next.map(|next| next.to_string()) })
}

fn record(pond: &Millpond, job: JobInfo, redact: &Redact) -> Result<JobRecord, Problem> {
    let of = (job.queue.as_str(), job.kind.as_str());
    Ok(JobRecord {
        id: job.id.to_string(),
        state: job.state.to_string(),
        payload: body::of_exported_payload(&job.payload, of.0, of.1, redact),
        result: job.result.as_deref().map(|bytes| body::of_exported_result(bytes, of.0, of.1, redact)),
        priority: job.priority.get(),
        steps: flows::steps_done(pond, job.id)?,
        undoing: job.undoing.map(|state| state.to_string()),
        enqueued_at: time(job.enqueued_at),
        run_at: job.run_at.map(time),
        ended_at: job.ended_at.map(time),
        error: latest_error(&job).cloned(),
        entry: job.entry.as_ref().map(entry),
        queue: job.queue,
        kind: job.kind,
        group: job.group,
        key: job.unique_key,
        idempotency_key: job.idempotency_key,
        flow: job.flow,
        tags: job.tags,
        headers: job.headers,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
    })
}

fn entry(entry: &crate::EntryOf) -> EntryOf {
    EntryOf { stream: entry.stream.to_string(), offset: entry.offset }
}

fn latest_error(job: &JobInfo) -> Option<&String> {
    job.errors.last().map(|error| &error.message).or(job.reason.as_ref())
}

pub(super) fn row(job: &JobInfo, redact: &Redact) -> JobRow {
    JobRow {
        id: job.id.to_string(),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        state: job.state.to_string(),
        priority: job.priority.get(),
        group: job.group.clone(),
        key: job.unique_key.clone(),
        flow: job.flow.clone(),
        tags: job.tags.clone(),
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        enqueued_at: time(job.enqueued_at),
        run_at: job.run_at.map(time),
        started_at: job.started_at.map(time),
        ended_at: job.ended_at.map(time),
        error: latest_error(job).cloned(),
        progress: job.progress.as_ref().map(progress),
        preview: body::preview(&job.payload, &job.queue, &job.kind, redact),
    }
}

pub(super) fn shown(pond: &Millpond, id: JobId, redact: &Redact) -> Result<Job, Problem> {
    let job = pond.job(id)?;
    let why = pond.explain(id)?;
    let plugins = job.plugins.iter().rev().map(|(_, hash)| hash.to_string()).collect();
    Ok(Job {
        row: row(&job, redact),
        why: why_shown(&why),
        payload: body::of_payload(&job.payload, &job.queue, &job.kind, redact),
        result: job.result.as_deref().map(|bytes| body::of_result(bytes, &job.queue, &job.kind, redact)),
        idempotency_key: job.idempotency_key.clone(),
        unique: job.unique.map(unique),
        expires_at: job.expires_at.map(time),
        weight: job.weight,
        snoozes: job.snoozes,
        generation: job.generation,
        scheduled_for: job
            .scheduled_for
            .as_ref()
            .map(|run| ScheduledFor { schedule: run.schedule.clone(), at: time(run.at) }),
        entry: job.entry.as_ref().map(entry),
        plugins,
        timeline: timeline(&job.errors, &job.logs),
        steps: flows::steps(pond, &job, redact)?,
        headers: job.headers,
        undoing: job.undoing.map(|state| state.to_string()),
        reason: job.reason,
        codec_error: job.codec_error,
    })
}

pub(super) fn why_shown(why: &Explanation) -> Why {
    let value = serde_json::to_value(why).unwrap_or_default();
    let reason = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let job = ["by", "head", "probe", "held_by"].iter().find_map(|field| value.get(field)?.as_u64());
    Why { reason, sentence: why.to_string(), job: job.map(|id| id.to_string()) }
}

pub(super) fn progress(progress: &crate::Progress) -> Progress {
    Progress { done: progress.done, total: progress.total, message: progress.message.clone() }
}

/// The mode of a unique key, as the code that enqueues writes it.
fn unique(unique: Unique) -> String {
    let known = [
        (Unique::until_ended(), "until_ended"),
        (Unique::until_ended().replace(), "until_ended, replace"),
        (Unique::until_started(), "until_started"),
        (Unique::until_started().replace(), "until_started, replace"),
        (Unique::keep_latest(), "keep_latest"),
    ];
    let name = known.into_iter().find(|(mode, _)| *mode == unique).map(|(_, name)| name.to_owned());
    name.unwrap_or_else(|| format!("{unique:?}"))
}

/// How many jobs of a queue are in a state, where that is kept and nothing has to be read.
pub(super) fn kept_count(pond: &Millpond, query: &JobQuery) -> Option<u64> {
    let (queue, state) = (query.queue.as_deref()?, query.state.as_deref()?);
    let queue = queues::find(pond, queue).ok().filter(|_| query.is_plain())?;
    queues::counts(&queue.counts()).in_state(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_cannot_be_understood_is_refused_with_what_is_possible() {
        let refused = |query: JobQuery| filter(&query, &Redact::default()).unwrap_err();
        let problem = refused(JobQuery { state: Some("Done".into()), ..JobQuery::default() });
        assert!(problem.code == Code::Invalid && problem.detail.contains("completed, dead"), "{problem}");
        assert_eq!(refused(JobQuery { pointer: Some("/a".into()), ..JobQuery::default() }).code, Code::Invalid);
    }

    #[test]
    fn jobs_are_not_found_by_what_is_hidden_of_them() {
        let redact = Redact::with(|_, _, _| {});
        let query = JobQuery { payload: Some("4111".into()), ..JobQuery::default() };
        assert_eq!(filter(&query, &redact).unwrap_err().code, Code::Forbidden);
        assert!(filter(&JobQuery::of_queue("mail"), &redact).is_ok());
    }
}
