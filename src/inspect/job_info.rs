//! One job with its history, as a caller sees it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::BoxError;
use crate::job::{
    AttemptError, AttemptLog, EntryOf, HasOutput, JobId, Payload, PluginHash, Priority, Progress, ScheduledFor, State,
    Unique,
};
use crate::time::Timestamp;

/// One job, with its history.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// let job = pond.job(id)?;
/// assert_eq!((job.state, job.attempts), (State::Retrying, 1));
/// assert_eq!(job.errors[0].message, "declined");
/// assert!(job.run_at > Some(job.enqueued_at));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: State,
    /// Its priority.
    pub priority: Priority,
    /// Its group, if it has one.
    pub group: Option<String>,
    /// Attempts used up; while the job runs, including the current one.
    pub attempts: u32,
    /// Its own limit of attempts; `None` if the worker's limit applies.
    pub max_attempts: Option<u32>,
    /// Whether it was enqueued to run at most once.
    pub at_most_once: bool,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// The job does not run before this time.
    pub run_at: Option<Timestamp>,
    /// The job is cancelled if it has not started by this time. With [`expires_in`](crate::NewJob::expires_in) this is
    /// computed from the wall clock at the time of the enqueue; the job expires when that much time has passed, even if
    /// the wall clock was set meanwhile.
    pub expires_at: Option<Timestamp>,
    /// How many units it uses of the [limits](crate::Builder::limit) that its worker uses. Not serialized if it is 1.
    #[serde(skip_serializing_if = "is_one")]
    pub weight: u32,
    /// When its current or last attempt started, if known.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many times it was snoozed.
    pub snoozes: u32,
    /// How many generations of plugins' follow-up jobs and entries led to this job: 0 unless a plugin has enqueued, appended or
    /// published it.
    pub generation: u32,
    /// Which version of a plugin made its attempts, and from which attempt on. Empty without plugins.
    pub plugins: Vec<(u32, PluginHash)>,
    /// The errors of its attempts: the first and the latest ones, 50 at most.
    pub errors: Vec<AttemptError>,
    /// Why it ended, if it did not complete; at most 4 KiB.
    pub reason: Option<String>,
    /// The result that its handler returned, if it returned one. Its serialized form is `{"value": ...}` if the result
    /// is JSON, else `{"text": "..."}` if it is UTF-8, else `{"bytes": [...]}`. [`result_json`](Self::result_json)
    /// reads it as a type.
    #[serde(serialize_with = "result_as_shown")]
    pub result: Option<Bytes>,
    /// Its unique key, if it has one.
    pub unique_key: Option<String>,
    /// How it holds its unique key. Not serialized if it has none, or holds it until its end.
    #[serde(skip_serializing_if = "is_until_ended")]
    pub unique: Option<Unique>,
    /// Its idempotency key. Not serialized if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The schedule that has enqueued it, and for which time. Not serialized if it was enqueued otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<ScheduledFor>,
    /// The entry of a stream that it was, if it is in the queue of a [consumer](crate::Millpond::consumer). Not serialized otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<EntryOf>,
    /// The name of the flow that it belongs to. Not serialized if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
    /// The state in which it ends once its steps are undone, if it [undoes](crate::Step::undo) them. Its `attempts` are those to undo
    /// them. Not serialized if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undoing: Option<State>,
    /// Its [tags](crate::NewJob::tag). Not serialized if it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its [headers](crate::NewJob::header). Not serialized if it has none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its payload.
    pub payload: Payload,
    /// Why the [payload codec](crate::PayloadCodec) cannot read the payload or the result. The bytes are then those that are
    /// stored, and a payload is a raw one. `None` if everything was read.
    pub codec_error: Option<String>,
    /// The last progress that was reported: by the attempt that runs, or else by the latest attempt in [`logs`](Self::logs).
    pub progress: Option<Progress>,
    /// What the handlers of its attempts have reported, oldest first: of the latest 5 attempts that have ended and reported
    /// something, and of the attempt that runs. What a running attempt has reported is in memory only: it is written with the end
    /// of the attempt, and is lost if the process dies before.
    pub logs: Vec<AttemptLog>,
}

impl JobInfo {
    /// The result that the handler returned, read from JSON; `None` if there is none.
    ///
    /// # Errors
    /// The error of `serde_json` if the result is not JSON, or is not a `T`.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// assert_eq!(pond.job(id)?.result_json::<u64>()?, None);
    ///
    /// pond.worker("billing").handle(|job: Job<Charge>| async move { Outcome::done_json(&(job.order * 2)) }).start()?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result_json::<u64>()?, Some(14));
    /// assert!(pond.job(id)?.result_json::<String>().is_err());
    /// # Ok(()) });
    /// ```
    pub fn result_json<T: DeserializeOwned>(&self) -> Result<Option<T>, BoxError> {
        Ok(self.result.as_deref().map(serde_json::from_slice).transpose()?)
    }

    /// The result of a job of kind `K`; `None` if there is none.
    ///
    /// # Errors
    /// The job is of another kind; that of `serde_json` if the result is not a `K::Output`.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// #[derive(Serialize, Deserialize, Kind)]
    /// #[kind(queue = "imports", output = usize)]
    /// struct Count { files: Vec<String> }
    ///
    /// pond.worker(Count::QUEUE)
    ///     .handle(|job: Job<Count>| async move { Outcome::done_as::<Count>(&job.files.len()) })
    ///     .start()?;
    /// let id = pond.send(Count { files: vec!["a.csv".into()] }).await?;
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.output::<Count>()?, Some(1));
    /// # Ok(()) });
    /// ```
    pub fn output<K: HasOutput>(&self) -> Result<Option<K::Output>, BoxError> {
        if self.kind != K::KIND {
            return Err(format!("job {} is of kind {:?}, not of kind {:?}", self.id, self.kind, K::KIND).into());
        }
        self.result_json()
    }
}

fn is_one(weight: &u32) -> bool {
    *weight == 1
}

fn is_until_ended(unique: &Option<Unique>) -> bool {
    unique.is_none_or(|unique| unique == Unique::until_ended())
}

/// Serializes a result, which has no codec, in the most legible form that it has.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ShownResult<'r> {
    Value(&'r RawValue),
    Text(&'r str),
    Bytes(&'r [u8]),
}

fn result_as_shown<S: Serializer>(result: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    let shown = result.as_deref().map(|bytes| match (serde_json::from_slice(bytes), std::str::from_utf8(bytes)) {
        (Ok(value), _) => ShownResult::Value(value),
        (_, Ok(text)) => ShownResult::Text(text),
        _ => ShownResult::Bytes(bytes),
    });
    shown.serialize(serializer)
}
