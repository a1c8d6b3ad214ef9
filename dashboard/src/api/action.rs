//! What can be changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::query::exact;
use super::{Binding, EntryOf, JobQuery, Misfire, NewEntry, Overlap, Overrides, Seek, StreamSettings, Time};

/// A change that an operator asks for. Every change goes through one of these, so that one place decides whether it is
/// permitted and tells who has made it.
///
/// In JSON, `action` is the name of the variant: `{"action": "cancel_job", "id": "42", "reason": "a duplicate"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Stores a job.
    Enqueue(NewJob),
    /// Cancels a job in any state. A running handler is asked to stop.
    CancelJob {
        /// The job.
        id: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Makes a job that is due later due now.
    RunJobNow {
        /// The job.
        id: String,
    },
    /// Changes a job that does not run.
    UpdateJob {
        /// The job.
        id: String,
        /// What changes.
        change: Change,
    },
    /// Moves a job that does not run to another queue.
    MoveJob {
        /// The job.
        id: String,
        /// The other queue.
        queue: String,
    },
    /// Removes a job that does not run.
    DeleteJob {
        /// The job.
        id: String,
    },
    /// Gives a dead letter new attempts.
    RedriveJob {
        /// The dead letter.
        id: String,
    },
    /// Removes a dead letter for good.
    PurgeJob {
        /// The dead letter.
        id: String,
    },
    /// Cancels all jobs that match.
    CancelJobs {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Makes all jobs that match due now.
    RunJobsNow {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
    },
    /// Moves all jobs that match to another queue.
    MoveJobs {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
        /// The other queue.
        queue: String,
    },
    /// Removes all jobs that match and do not run.
    DeleteJobs {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
    },
    /// Gives all dead letters that match new attempts.
    RedriveJobs {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
        /// Only those whose error is in this group: the `error` of a `DeadGroup`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_group: Option<String>,
    },
    /// Removes all dead letters that match.
    PurgeJobs {
        /// Which.
        #[serde(deserialize_with = "exact")]
        jobs: JobQuery,
        /// Only those whose error is in this group: the `error` of a `DeadGroup`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error_group: Option<String>,
    },
    /// Lets no job of any queue start.
    PauseAll,
    /// Ends the pause of all queues.
    ResumeAll,
    /// Lets no job of a queue start.
    PauseQueue {
        /// The queue.
        queue: String,
    },
    /// Ends the pause of a queue.
    ResumeQueue {
        /// The queue.
        queue: String,
    },
    /// Lets no job of a group start.
    PauseGroup {
        /// The queue.
        queue: String,
        /// The group.
        group: String,
    },
    /// Ends the pause of a group, and releases it from the dead letter that holds it.
    ResumeGroup {
        /// The queue.
        queue: String,
        /// The group.
        group: String,
    },
    /// Lets no job of a kind start in a queue.
    PauseKind {
        /// The queue.
        queue: String,
        /// The kind.
        kind: String,
    },
    /// Ends the pause of a kind.
    ResumeKind {
        /// The queue.
        queue: String,
        /// The kind.
        kind: String,
    },
    /// Sets limits in place of the code's own, and takes back those that are left out.
    SetOverrides {
        /// The queue.
        queue: String,
        /// The limits.
        overrides: Overrides,
    },
    /// Closes the circuit of a queue, or of a group.
    CloseCircuit {
        /// The queue.
        queue: String,
        /// The group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        group: Option<String>,
    },
    /// Fills the bucket of a queue's rate.
    ResetRate {
        /// The queue.
        queue: String,
    },
    /// Lets a unique key go.
    ReleaseKey {
        /// The queue.
        queue: String,
        /// The key.
        key: String,
    },
    /// Removes all jobs of a queue that wait.
    DrainQueue {
        /// The queue.
        queue: String,
    },
    /// Removes a queue with all its jobs.
    ObliterateQueue {
        /// The queue.
        queue: String,
    },
    /// Gives a queue another name.
    RenameQueue {
        /// The queue.
        queue: String,
        /// The other name.
        to: String,
    },
    /// Sets how many units a shared limit has, until the process ends.
    SetLimit {
        /// The limit.
        name: String,
        /// The units.
        units: u32,
    },
    /// Lets no run of a schedule happen.
    PauseSchedule {
        /// The schedule.
        name: String,
    },
    /// Ends the pause of a schedule.
    ResumeSchedule {
        /// The schedule.
        name: String,
    },
    /// Enqueues a job of a schedule now.
    RunSchedule {
        /// The schedule.
        name: String,
    },
    /// Changes a schedule.
    UpdateSchedule {
        /// The schedule.
        name: String,
        /// What changes.
        change: ScheduleChange,
    },
    /// Removes a schedule.
    RemoveSchedule {
        /// The schedule.
        name: String,
    },
    /// Binds a queue or a stream to a topic.
    Bind {
        /// The topic.
        topic: String,
        /// The queue or the stream, and which messages it gets.
        binding: Binding,
    },
    /// Removes a binding of a topic: the one that equals this.
    Unbind {
        /// The topic.
        topic: String,
        /// The binding.
        binding: Binding,
    },
    /// Sets what becomes of the messages of a topic that no binding matches.
    ConfigureTopic {
        /// The topic.
        topic: String,
        /// The queue that gets them, if one does.
        #[serde(default)]
        alternate: Option<String>,
        /// Whether a message that no queue and no stream gets is an error.
        #[serde(default)]
        is_mandatory: bool,
    },
    /// Removes a topic with its bindings.
    RemoveTopic {
        /// The topic.
        topic: String,
    },
    /// Publishes a job to a topic.
    Publish {
        /// The topic.
        topic: String,
        /// The routing key.
        #[serde(default)]
        key: String,
        /// The job, without a queue.
        job: NewJob,
    },
    /// Appends an entry to a stream. A stream that is not there is made.
    Append {
        /// The stream.
        stream: String,
        /// The entry.
        entry: NewEntry,
    },
    /// Sets what a stream keeps. What is left out is not limited. A stream that is not there is made.
    ConfigureStream {
        /// The stream.
        stream: String,
        /// What it keeps.
        settings: StreamSettings,
    },
    /// Removes the entries of a stream that are beyond its limits now, in place of a few seconds later.
    SweepStream {
        /// The stream.
        stream: String,
    },
    /// Removes a stream with its entries. It must have no consumers.
    RemoveStream {
        /// The stream.
        stream: String,
    },
    /// Moves a consumer to another entry, backwards or forwards.
    SeekConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Where it goes on.
        to: Seek,
    },
    /// Lets a consumer handle no entries and jobs.
    PauseConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Ends the pause of a consumer.
    ResumeConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Removes a consumer with its queue, dead letters included. It must not run.
    RemoveConsumer {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Cancels all of a flow that has not ended. The handlers of running jobs are asked to stop.
    CancelFlow {
        /// The flow.
        flow: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Gives all dead letters of a flow new attempts at once. The flow goes on then.
    RetryFlow {
        /// The flow.
        flow: String,
    },
    /// Removes a flow that has ended, with the results of its jobs. Its dead letters stay.
    RemoveFlow {
        /// The flow.
        flow: String,
    },
    /// Says that a signal of a flow has come.
    SignalFlow {
        /// The flow.
        flow: String,
        /// The signal.
        signal: String,
        /// What is sent with it, any JSON. Its numbers are read as 64-bit ones: see `payload_text`.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        payload: serde_json::Value,
        /// What is sent with it as the text of JSON, in place of `payload`: all digits of its numbers are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload_text: Option<String>,
    },
    /// Says that a signal has come for which the handler of a job waits, or will wait.
    SignalJob {
        /// The job.
        id: String,
        /// The signal.
        signal: String,
        /// What is sent with it, any JSON. Its numbers are read as 64-bit ones: see `payload_text`.
        #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
        payload: serde_json::Value,
        /// What is sent with it as the text of JSON, in place of `payload`: all digits of its numbers are kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload_text: Option<String>,
    },
    /// Lets a plugin that was suspended run again.
    ResumePlugin {
        /// The queue whose jobs it handles.
        queue: String,
        /// The kind of them.
        kind: String,
    },
    /// Copies the file while it is in use, and checks the copy. It is permitted only to somebody on the same machine, and never
    /// replaces a file.
    Backup {
        /// Where the copy is made on the machine of the process: an absolute path at which nothing is.
        path: String,
    },
    /// Gives the free space of the file back to the system. Reads and writes wait until it is done.
    Compact,
    /// Reads the whole file and checks it. It changes nothing.
    Check,
    /// Reads a quarantined row again, and puts it back if it can be read.
    RestoreRow {
        /// The number of the row.
        number: u64,
    },
    /// Removes a quarantined row for good.
    PurgeRow {
        /// The number of the row.
        number: u64,
    },
}

/// A job to be stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewJob {
    /// The queue.
    pub queue: String,
    /// The kind.
    pub kind: String,
    /// The payload, any JSON. Its numbers are read as 64-bit ones: see `payload_text`.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub payload: serde_json::Value,
    /// The payload as the text of JSON, in place of `payload`: all digits of its numbers and the order of its fields are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// 0 is the most urgent priority, 9 the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// How long it waits before it can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
    /// When it can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Time>,
    /// Its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its unique key, until it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The key with which it is enqueued once only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How many attempts there can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The entry of a stream that it was, in another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryOf>,
}

/// What changes of a job. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The payload, as JSON. Its numbers are read as 64-bit ones: see `payload_text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// The payload as the text of JSON, in place of `payload`: all digits of its numbers and the order of its fields are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// 0 is the most urgent priority, 9 the least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// When the job is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Time>,
}

/// What changes of a schedule. What is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleChange {
    /// A cron expression: `0 3 * * *`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The zone of the cron expression, by its IANA name. Default: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// An interval in place of a cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_seconds: Option<f64>,
    /// What happens to missed runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// What happens while the job of the previous run has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<Overlap>,
    /// By how much a run can be later than its time: a day at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_seconds: Option<f64>,
    /// No run has a time before this one; `null` for no such time.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<Time>)]
    pub starts_at: Option<Option<Time>>,
    /// No run has a time after this one; `null` for no such time.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<Time>)]
    pub ends_at: Option<Option<Time>>,
    /// After this many runs, those that were made already among them, no run follows; `null` for any number.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[schema(value_type = Option<u64>)]
    pub at_most: Option<Option<u64>>,
    /// The payload of its jobs, as JSON. Its numbers are read as 64-bit ones: see `payload_text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// The payload as the text of JSON, in place of `payload`: all digits of its numbers and the order of its fields are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
}

/// A field that is given, though it can be `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What an action has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// How many jobs, rows or things were changed.
    pub changed: u64,
    /// The job that was stored, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A sentence that says so: `3 jobs are cancelled`.
    pub message: String,
    /// What a check has found to be wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl Action {
    /// The name that the action has in JSON: `cancel_job`.
    pub fn name(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        value.get("action").and_then(|name| name.as_str()).unwrap_or("unknown").to_owned()
    }

    /// The jobs that the action changes, if it can change many.
    pub fn jobs(&self) -> Option<&JobQuery> {
        match self {
            Self::CancelJobs { jobs, .. }
            | Self::RunJobsNow { jobs }
            | Self::MoveJobs { jobs, .. }
            | Self::DeleteJobs { jobs }
            | Self::RedriveJobs { jobs, .. }
            | Self::PurgeJobs { jobs, .. } => Some(jobs),
            _ => None,
        }
    }

    /// The states of the jobs that an action on many jobs changes; others are left as they are. Empty for an action on one
    /// thing.
    pub fn states(&self) -> &'static [&'static str] {
        match self {
            Self::CancelJobs { .. } => &["pending", "scheduled", "retrying", "running", "blocked"],
            Self::RunJobsNow { .. } => &["scheduled", "retrying"],
            Self::MoveJobs { .. } => &["pending", "scheduled", "retrying", "dead"],
            Self::DeleteJobs { .. } => {
                &["pending", "scheduled", "retrying", "blocked", "completed", "dead", "cancelled"]
            }
            Self::RedriveJobs { .. } | Self::PurgeJobs { .. } => &["dead"],
            _ => &[],
        }
    }

    /// The action as JSON for a log: payloads, which may be secret, are replaced by their sizes.
    pub fn to_log(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        for place in [
            "/payload",
            "/payload_text",
            "/change/payload",
            "/change/payload_text",
            "/job/payload",
            "/job/payload_text",
            "/entry/payload",
            "/entry/payload_text",
        ] {
            if let Some(payload) = value.pointer_mut(place).filter(|payload| !payload.is_null()) {
                let bytes = payload.as_str().map_or_else(|| payload.to_string().len(), str::len);
                *payload = format!("{bytes} bytes").into();
            }
        }
        value.to_string()
    }

    /// Whether only somebody on the same machine may ask for it, because it names a place there.
    pub fn is_local_only(&self) -> bool {
        matches!(self, Self::Backup { .. })
    }

    /// Whether it leaves everything as it is. A read-only dashboard permits it.
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Check)
    }

    /// Whether something is removed or stopped for good. The pages ask before such an action.
    pub fn is_destructive(&self) -> bool {
        matches!(
            self,
            Self::CancelJob { .. }
                | Self::DeleteJob { .. }
                | Self::PurgeJob { .. }
                | Self::CancelJobs { .. }
                | Self::DeleteJobs { .. }
                | Self::PurgeJobs { .. }
                | Self::DrainQueue { .. }
                | Self::ObliterateQueue { .. }
                | Self::RemoveSchedule { .. }
                | Self::Unbind { .. }
                | Self::RemoveTopic { .. }
                | Self::RemoveStream { .. }
                | Self::RemoveConsumer { .. }
                | Self::CancelFlow { .. }
                | Self::RemoveFlow { .. }
                | Self::PurgeRow { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_not_in_the_log() {
        let change = Change { payload_text: Some("\"secret\"".to_owned()), ..Change::default() };
        let log = Action::UpdateJob { id: "1".to_owned(), change }.to_log();
        assert!(!log.contains("secret") && log.contains("8 bytes"), "{log}");
        let job = NewJob { payload: "secret".into(), ..NewJob::default() };
        assert!(!Action::Enqueue(job.clone()).to_log().contains("secret"));
        let publish = Action::Publish { topic: "t".to_owned(), key: "k".to_owned(), job };
        assert!(!publish.to_log().contains("secret"));
        for (payload, payload_text) in [("secret".into(), None), (serde_json::Value::Null, Some("\"secret\"".into()))] {
            let entry = NewEntry { payload, payload_text, ..NewEntry::default() };
            let append = Action::Append { stream: "s".to_owned(), entry };
            assert!(!append.to_log().contains("secret") && append.to_log().contains(" bytes"), "{}", append.to_log());
        }
        let read = |json| serde_json::from_str::<Action>(json).unwrap();
        let signal = read(r#"{"action":"signal_flow","flow":"f","signal":"s","payload":{"by":"secret"}}"#);
        assert!(
            !signal.to_log().contains("secret") && signal.to_log().contains("\"signal\":\"s\""),
            "{}",
            signal.to_log()
        );
        let signal = read(r#"{"action":"signal_job","id":"1","signal":"s","payload_text":"\"secret\""}"#);
        assert!(!signal.to_log().contains("secret"), "{}", signal.to_log());
    }

    #[test]
    fn what_is_null_is_not_the_same_as_what_is_left_out() {
        let read = |json| serde_json::from_str::<ScheduleChange>(json).unwrap();
        assert_eq!(read("{}"), ScheduleChange::default());
        let change = read(r#"{"ends_at":null,"at_most":3}"#);
        assert_eq!((change.starts_at, change.ends_at, change.at_most), (None, Some(None), Some(Some(3))));
        assert_eq!(serde_json::to_string(&change).unwrap(), r#"{"ends_at":null,"at_most":3}"#);
    }
}
