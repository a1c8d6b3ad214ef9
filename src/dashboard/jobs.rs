//! Jobs: which ones a request asks for, and how they are listed and shown.

mod timeline;

use std::str::FromStr;

use serde_json::Value;

use crate::{Cursor, Explanation, JobFilter, JobId, JobInfo, Millpond, State, Timestamp, Unique};

use super::api::{Code, Job, JobPage, JobQuery, JobRow, Paging, Problem, Progress, ScheduledFor, Time, Why};
use super::body;
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
    let JobQuery { queue, state, kind, group, key, tag, payload, pointer, equals, error, since, until } = query;
    if redact.is_set() && (payload.is_some() || pointer.is_some()) {
        let detail = "the application hides parts of payloads here, so jobs cannot be found by their payloads";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let mut filter = JobFilter::new();
    if let Some(queue) = queue {
        filter = filter.queue(queue);
    }
    if let Some(state) = state {
        filter = filter.state(state_of(state)?);
    }
    if let Some(kind) = kind {
        filter = filter.kind(kind);
    }
    if let Some(group) = group {
        filter = filter.group(group);
    }
    if let Some(key) = key {
        filter = filter.unique_key(key);
    }
    if let Some(tag) = tag {
        filter = filter.tag(tag);
    }
    if let Some(text) = payload {
        filter = filter.payload_contains(text);
    }
    match (pointer, equals) {
        (Some(pointer), Some(value)) => filter = filter.json_equals(pointer, json_or_text(value)),
        (None, None) => {}
        _ => return Err(Problem::invalid("`pointer` and `equals` belong together: give both or none")),
    }
    if let Some(text) = error {
        filter = filter.error_contains(text);
    }
    if let Some(since) = since {
        filter = filter.since(Timestamp::from_millis(since.0));
    }
    if let Some(until) = until {
        filter = filter.until(Timestamp::from_millis(until.0));
    }
    Ok(filter)
}

const STATES: [State; 8] = [
    State::Pending,
    State::Scheduled,
    State::Running,
    State::Retrying,
    State::Completed,
    State::Dead,
    State::Cancelled,
    State::Blocked,
];

fn state_of(text: &str) -> Result<State, Problem> {
    let found = STATES.into_iter().find(|state| state.to_string() == text);
    found.ok_or_else(|| {
        let names = STATES.map(|state| state.to_string()).join(", ");
        Problem::invalid(format!("there is no state {text:?}: the states are {names}"))
    })
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
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

pub(super) fn row(job: &JobInfo, redact: &Redact) -> JobRow {
    let error = job.errors.last().map(|error| &error.message).or(job.reason.as_ref());
    JobRow {
        id: job.id.to_string(),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        state: job.state.to_string(),
        priority: job.priority.get(),
        group: job.group.clone(),
        key: job.unique_key.clone(),
        tags: job.tags.clone(),
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        enqueued_at: time(job.enqueued_at),
        run_at: job.run_at.map(time),
        started_at: job.started_at.map(time),
        ended_at: job.ended_at.map(time),
        error: error.cloned(),
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
        plugins,
        timeline: timeline(&job.errors, &job.logs),
        headers: job.headers,
        reason: job.reason,
        codec_error: job.codec_error,
    })
}

pub(super) fn why_shown(why: &Explanation) -> Why {
    let value = serde_json::to_value(why).unwrap_or_default();
    let reason = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let job = ["by", "head", "probe"].iter().find_map(|field| value.get(field)?.as_u64());
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

    #[test]
    fn each_state_is_found_by_its_name() {
        for state in STATES {
            assert_eq!(state_of(&state.to_string()), Ok(state));
        }
    }
}
