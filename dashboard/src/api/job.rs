//! Jobs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EntryOf, Step, Time};

/// A job as it is listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Its state, in lower case.
    pub state: String,
    /// 0 is the most urgent priority, 9 the least.
    pub priority: u8,
    /// Its group.
    pub group: Option<String>,
    /// Its unique key.
    pub key: Option<String>,
    /// The flow that it belongs to.
    pub flow: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// How many attempts have begun.
    pub attempts: u32,
    /// How many there can be; `null` if the worker says it.
    pub max_attempts: Option<u32>,
    /// When it was enqueued.
    pub enqueued_at: Time,
    /// When it is due, if it was due later or is due again.
    pub run_at: Option<Time>,
    /// When its latest attempt started.
    pub started_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// The latest error, or the reason of the end.
    pub error: Option<String>,
    /// How far its handler is.
    pub progress: Option<Progress>,
    /// The beginning of the payload, as text.
    pub preview: String,
}

/// Some jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs. There can be fewer than the limit, even none, though more follow: a page reads 10,000 jobs at most.
    pub jobs: Vec<JobRow>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}

/// A job as it is exported: whole, but without its history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobRecord {
    /// Its id.
    pub id: String,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Its state, in lower case.
    pub state: String,
    /// Its payload. JSON is as it was written, and a text is cut at 2 MiB.
    pub payload: Body,
    /// Its result, if it has completed with one. The text is cut at 2 MiB.
    pub result: Option<Body>,
    /// 0 is the most urgent priority, 9 the least.
    pub priority: u8,
    /// Its group.
    pub group: Option<String>,
    /// Its unique key.
    pub key: Option<String>,
    /// The key with which it was enqueued once only.
    pub idempotency_key: Option<String>,
    /// The flow that it belongs to.
    pub flow: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// How many attempts have begun.
    pub attempts: u32,
    /// How many there can be; `null` if the worker says it.
    pub max_attempts: Option<u32>,
    /// How many steps and signals it has, but for those that are undone.
    pub steps: u64,
    /// The state in which it ends once its steps are undone, if it undoes them.
    pub undoing: Option<String>,
    /// When it was enqueued.
    pub enqueued_at: Time,
    /// When it is due, if it was due later or is due again.
    pub run_at: Option<Time>,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// The latest error, or the reason of the end.
    pub error: Option<String>,
    /// The entry of a stream that it was, if it is in the queue of a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryOf>,
}

/// Some jobs as they are exported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobRecordPage {
    /// The jobs. There can be fewer than the limit, even none, though more follow: a page ends with the job with which it reaches
    /// 8 MiB, and reads 10,000 jobs at most.
    pub records: Vec<JobRecord>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}

/// A job with everything about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// What is listed of it.
    #[serde(flatten)]
    pub row: JobRow,
    /// Why it does not run.
    pub why: Why,
    /// Its payload.
    pub payload: Body,
    /// Its result, if it has completed with one.
    pub result: Option<Body>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// The key with which it was enqueued once only.
    pub idempotency_key: Option<String>,
    /// The mode of its unique key, as the code that enqueues writes it: `until_ended`, `until_started, replace`, ….
    pub unique: Option<String>,
    /// When it is given up if it has not started.
    pub expires_at: Option<Time>,
    /// How many units of limits it takes.
    pub weight: u32,
    /// How often its handler has put it off.
    pub snoozes: u32,
    /// How many jobs led to this one: 0 if the application enqueued it.
    pub generation: u32,
    /// The schedule that has enqueued it.
    pub scheduled_for: Option<ScheduledFor>,
    /// The entry of a stream that it is, if it is in the queue of a consumer.
    pub entry: Option<EntryOf>,
    /// The versions of plugins that made its attempts, as the SHA-256 of their files; the latest first.
    pub plugins: Vec<String>,
    /// Its attempts that left something: an error, logs or progress. The oldest first.
    pub timeline: Vec<Attempt>,
    /// What its handler has stored before its end, the oldest first.
    pub steps: Vec<Step>,
    /// The state in which it ends once its steps are undone, if it undoes them.
    pub undoing: Option<String>,
    /// The reason of its end.
    pub reason: Option<String>,
    /// Why its payload or result cannot be shown as it was written.
    pub codec_error: Option<String>,
}

/// Why a job does not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The name of the reason: `NotDue`, `QueuePaused`, …
    pub reason: String,
    /// The reason as a sentence.
    pub sentence: String,
    /// The job that it waits for.
    pub job: Option<String>,
}

/// How the bytes of a payload or a result are to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// JSON.
    Json,
    /// Postcard.
    Postcard,
    /// Text in UTF-8.
    Text,
    /// Bytes that only the handler understands.
    #[default]
    Raw,
}

/// A payload or a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Body {
    /// How it is to be read.
    pub format: Format,
    /// Its size.
    pub bytes: u64,
    /// The text: JSON with line breaks, or bytes in hexadecimal. It is cut at 64 KiB, if nothing else is said where it is shown.
    pub text: String,
    /// Whether the text was cut.
    pub is_cut: bool,
    /// Whether the application has hidden something of it.
    pub is_redacted: bool,
}

/// How far a handler is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is done.
    pub done: u64,
    /// What there is to do.
    pub total: Option<u64>,
    /// What the handler says.
    pub message: String,
}

/// The time of a schedule for which a job was enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScheduledFor {
    /// The schedule.
    pub schedule: String,
    /// The time.
    pub at: Time,
}

/// One attempt of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Its number; the first is 1.
    pub number: u32,
    /// When it started.
    pub started_at: Time,
    /// When it ended; `null` if it runs.
    pub ended_at: Option<Time>,
    /// How it failed: `Error`, `Panic`, `Timeout`, `Crash`, … `null` if it has not failed.
    pub failure: Option<String>,
    /// The error.
    pub error: Option<String>,
    /// The lines that its handler has logged.
    pub lines: Vec<LogLine>,
    /// How many lines were not kept.
    pub dropped_lines: u64,
    /// How far it was.
    pub progress: Option<Progress>,
}

/// A line that a handler has logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// When.
    pub at: Time,
    /// The line.
    pub text: String,
}
