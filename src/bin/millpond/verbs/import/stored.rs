//! Records as new jobs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use millpond::dashboard::api::{self, Action};
use millpond::{Millpond, NewJob, Priority, Timestamp};

use super::super::record::{Content, Record};
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};

/// Jobs that another process is asked to store at a time. It makes one commit of those that arrive together.
const ASKED_AT_ONCE: usize = 64;

/// Stores the jobs, and returns how many were new.
pub(super) async fn store(at: &At, records: Vec<Record>) -> Result<u64> {
    match &at.pond {
        Some(pond) => in_file(pond, records).await,
        None => in_process(at, records).await,
    }
}

async fn in_file(pond: &Millpond, records: Vec<Record>) -> Result<u64> {
    let jobs = records.into_iter().map(new_job).collect::<Result<Vec<_>>>()?;
    let enqueued = pond.enqueue_all(jobs).await?;
    Ok(enqueued.iter().filter(|job| job.is_stored()).count() as u64)
}

fn new_job(record: Record) -> Result<(String, NewJob)> {
    let new = match &record.payload {
        // As it was written: numbers keep their digits, and objects the order of their fields.
        Content::Json(json) => NewJob::json(record.kind.clone(), json),
        Content::Text(text) => NewJob::raw(record.kind.clone(), text.clone()),
        Content::Raw(text) => NewJob::raw(record.kind.clone(), STANDARD.decode(text)?),
        Content::Postcard(_) => return Err(refused(&record, "only the code that has its type can store it")),
    };
    let mut new = new.tags(record.tags).headers(record.headers);
    if let Some(priority) = record.priority {
        new = new.priority(Priority::new(priority)?);
    }
    if let Some(at) = record.run_at {
        new = new.run_at(Timestamp::from_millis(at.0));
    }
    if let Some(group) = record.group {
        new = new.group(group);
    }
    if let Some(key) = record.key {
        new = new.unique_key(key);
    }
    if let Some(key) = record.idempotency_key {
        new = new.idempotency_key(key);
    }
    if let Some(attempts) = record.max_attempts {
        new = new.max_attempts(attempts);
    }
    if let Some(entry) = record.entry {
        new = new.entry(entry.stream, entry.offset);
    }
    Ok((record.queue, new))
}

async fn in_process(at: &At, records: Vec<Record>) -> Result<u64> {
    let jobs = records.into_iter().map(shown_job).collect::<Result<Vec<_>>>()?;
    let calls = stream::iter(jobs).map(|job| at.source.act(Action::Enqueue(job)));
    let done: Vec<_> = calls.buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(done.iter().map(|done| done.changed).sum())
}

fn shown_job(record: Record) -> Result<api::NewJob> {
    let Content::Json(json) = &record.payload else {
        return Err(refused(&record, "the API stores JSON only: import into the file while no process has it open"));
    };
    Ok(api::NewJob {
        payload: serde_json::Value::Null,
        payload_text: Some(json.get().to_owned()),
        queue: record.queue,
        kind: record.kind,
        priority: record.priority,
        delay_seconds: None,
        run_at: record.run_at,
        group: record.group,
        key: record.key,
        idempotency_key: record.idempotency_key,
        max_attempts: record.max_attempts,
        tags: record.tags,
        headers: record.headers,
        entry: record.entry,
    })
}

fn refused(record: &Record, why: &str) -> millpond::BoxError {
    let text = format!("job {} of the export has a payload that is not JSON: {why}", record.id);
    Failed::new(Exit::Conflict, text).into()
}
