//! Looking: counts, jobs, why one does not run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{BoxError, Error};
use crate::handler::Progress;
use crate::job::{AT_MOST_ONCE, AttemptError, JobId, KindId, Order, Payload, PluginHash, Priority, QueueId, State};
use crate::runtime::{Engine, Handlers};
use crate::scheduler::Blocked;
use crate::storage::{Damage, Fault, Found, HeadAt, Place, Reader, ScanCursor, ScanMost, Source, Tally};
use crate::time::Timestamp;

/// What is looked at for one page, at most: a filter that matches little must not hold a snapshot of
/// the file for long. A page may therefore be short, or empty, and still have a next one.
const LOOKED_AT_PER_PAGE: ScanMost = ScanMost { rows: 10_000, bytes: 64 << 20 };

/// Jobs on one page, at most.
const JOBS_PER_PAGE_MAX: usize = 1_000;

/// Bytes on one page, about: it ends with the job that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// How far [`Explanation::Waiting`] and [`Explanation::GroupBusy`] count the jobs ahead.
const AHEAD_MOST: ScanMost = ScanMost { rows: 10_000, bytes: 64 << 20 };

/// A queue's counts. Kept with every commit, so that asking costs nothing.
///
/// ```
/// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { Ok(()) }).start()?;
/// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// drain(&pond).await;
///
/// let counts = pond.queue("billing")?.counts();
/// assert_eq!((counts.enqueued_total, counts.completed_total), (3, 3));
/// assert_eq!((counts.unfinished(), counts.completed), (0, 0)); // without a result nothing is kept
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Could run: wait for a slot, their turn or a handler.
    pub pending: u64,
    /// A handler has them.
    pub running: u64,
    /// Their handlers have returned, and their ends are on the way to the disk.
    pub ending: u64,
    /// Due later, never tried.
    pub scheduled: u64,
    /// Due later after a failed attempt.
    pub retrying: u64,
    /// Completed and kept.
    pub completed: u64,
    /// In the dead-letter table.
    pub dead: u64,
    /// Cancelled or expired, and kept.
    pub cancelled: u64,
    /// Bytes of the records of all jobs that have not ended.
    pub bytes: u64,
    /// Jobs ever enqueued.
    pub enqueued_total: u64,
    /// Jobs ever completed, kept or not.
    pub completed_total: u64,
    /// Attempts ever failed.
    pub failures_total: u64,
    /// Jobs that ever went to the dead letters.
    pub dead_total: u64,
    /// Jobs ever cancelled or expired.
    pub cancelled_total: u64,
}

impl Counts {
    /// Jobs that have not ended.
    pub fn unfinished(&self) -> u64 {
        self.pending + self.running + self.ending + self.scheduled + self.retrying
    }
}

pub(crate) fn counts(engine: &Engine, queue: QueueId) -> Counts {
    // The commit's counts first: a job that settles in between is then pending for a moment longer
    // rather than in no count at all.
    let tally: Tally = engine.store.catalog.row(queue).tally;
    let (taken, running) = {
        let scheduler = engine.scheduler();
        (scheduler.taken_in(queue) as u64, scheduler.running_in(queue) as u64)
    };
    split(&tally, taken, running)
}

/// The commit's counts, its pending jobs split by what the scheduler has of them. It may have taken
/// more by now than that commit knew as pending, and those are among its delayed ones.
fn split(tally: &Tally, taken: u64, running: u64) -> Counts {
    let taken = taken.min(tally.pending);
    let running = running.min(taken);
    Counts {
        pending: tally.pending - taken,
        running,
        ending: taken - running,
        scheduled: tally.scheduled,
        retrying: tally.retrying,
        completed: tally.completed,
        dead: tally.dead,
        cancelled: tally.cancelled,
        bytes: tally.bytes,
        enqueued_total: tally.enqueued_total,
        completed_total: tally.completed_total,
        failures_total: tally.failures_total,
        dead_total: tally.dead_total,
        cancelled_total: tally.cancelled_total,
    }
}

/// One job, with its history.
///
/// ```
/// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// let job = pond.job(id)?;
/// assert_eq!((job.state, job.attempts), (State::Retrying, 1));
/// assert_eq!(job.errors[0].message, "declined");
/// assert!(job.run_at > Some(job.enqueued_at));
/// # Ok(()) }
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
    /// What it is.
    pub state: State,
    /// Its priority.
    pub priority: Priority,
    /// Its group.
    pub group: Option<String>,
    /// Attempts used up; while it runs, the current one included.
    pub attempts: u32,
    /// Its own limit of attempts; `None` is the worker's.
    pub max_attempts: Option<u32>,
    /// It was enqueued to run at most once.
    pub at_most_once: bool,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// Ends as cancelled if it has not started by then. For [`expires_in`](crate::NewJob::expires_in) as the wall clock
    /// stood at the enqueue; it expires once that time has passed, though that clock may have been set since.
    pub expires_at: Option<Timestamp>,
    /// When its current or last attempt started, as far as it is known.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How often it was snoozed.
    pub snoozes: u32,
    /// How many plugins' follow-up jobs it descends from: 0 unless a plugin enqueued it.
    pub generation: u32,
    /// Which version of a plugin made its attempts, and from which attempt on. Empty without plugins.
    pub plugins: Vec<(u32, PluginHash)>,
    /// What went wrong so far: the first error and the latest ones, 50 at most.
    pub errors: Vec<AttemptError>,
    /// Why it ended, if it did not simply complete; at most 4 KiB.
    pub reason: Option<String>,
    /// What its handler returned as the job's result, if it did. Serialized it is `{"value": ...}` if it is JSON, or else
    /// `{"text": "..."}` if it is UTF-8, or else `{"bytes": [...]}`. [`result_json`](Self::result_json) reads it as a type.
    #[serde(serialize_with = "result_as_shown")]
    pub result: Option<Bytes>,
    /// The application's own key.
    pub unique_key: Option<String>,
    /// Its payload.
    pub payload: Payload,
    /// How far its handler says it is, while it runs.
    pub progress: Option<Progress>,
    /// What its handler has logged, while it runs.
    pub log: Vec<String>,
}

impl JobInfo {
    /// The result that the handler returned, read from JSON; `None` if there is none.
    ///
    /// # Errors
    /// What `serde_json` says if the result is not JSON, or is not a `T`.
    ///
    /// ```
    /// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
    /// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
    /// # impl Kind for Charge { const KIND: &'static str = "charge"; }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
    /// # let pond = in_memory(&ManualClock::new())?;
    /// pond.worker("billing").handle(|job: Job<Charge>| async move { Outcome::done_json(&(job.order * 2)) }).start()?;
    /// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// assert_eq!(pond.job(id)?.result_json::<u64>()?, None);
    ///
    /// drain(&pond).await;
    /// assert_eq!(pond.job(id)?.result_json::<u64>()?, Some(14));
    /// assert!(pond.job(id)?.result_json::<String>().is_err());
    /// # Ok(()) }
    /// ```
    pub fn result_json<T: DeserializeOwned>(&self) -> Result<Option<T>, BoxError> {
        Ok(self.result.as_deref().map(serde_json::from_slice).transpose()?)
    }
}

/// A result has no codec: it is shown as the most legible thing that it can be.
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

/// Which jobs to list. Everything unless narrowed.
///
/// ```
/// use millpond::{JobFilter, State};
///
/// let filter = JobFilter::new().queue("emails").state(State::Retrying).kind("welcome");
/// # let _ = filter;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct JobFilter {
    queue: Option<String>,
    state: Option<State>,
    kind: Option<String>,
    group: Option<String>,
    error: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl JobFilter {
    /// All jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this queue.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// In this state.
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// Of this kind.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Of this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// With this text in their last error or their reason.
    pub fn error_contains(mut self, text: impl Into<String>) -> Self {
        self.error = Some(text.into());
        self
    }

    /// Ended at this time or later; for a job that has not ended, enqueued then.
    pub fn since(mut self, time: impl Into<Timestamp>) -> Self {
        self.since = Some(time.into());
        self
    }

    /// Ended before this time; for a job that has not ended, enqueued then.
    pub fn until(mut self, time: impl Into<Timestamp>) -> Self {
        self.until = Some(time.into());
        self
    }

    fn matches(&self, engine: &Engine, found: &Found, state: State) -> bool {
        let extra = found.record.extra.as_deref();
        let text = |wanted: &String| {
            let error = extra.and_then(|extra| extra.errors.last()).map(|error| error.message.as_str());
            let reason = extra.and_then(|extra| extra.reason.as_deref());
            [error, reason].into_iter().flatten().any(|text| text.contains(wanted.as_str()))
        };
        let time = extra.and_then(|extra| extra.ended_at).unwrap_or(found.record.enqueued_at);
        self.state.is_none_or(|wanted| wanted == state)
            && self.kind.as_ref().is_none_or(|kind| **kind == *engine.store.catalog.kind_name(found.record.kind))
            && self.group.as_ref().is_none_or(|group| found.record.group().is_some_and(|own| **own == **group))
            && self.error.as_ref().is_none_or(text)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
    }

    fn queues(&self, engine: &Engine) -> Vec<QueueId> {
        match &self.queue {
            Some(name) => engine.store.catalog.find_queue(name).into_iter().collect(),
            None => engine.store.catalog.stored_queues(),
        }
    }
}

/// Where a listing continues. As text it is opaque and can stand in an address: to page through jobs by links, for
/// example. A text of one version of Millpond need not be one of the next.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let first = pond.jobs(&JobFilter::new(), None, 2)?;
/// let link = first.next.expect("there are three jobs").to_string();
///
/// let cursor: Cursor = link.parse()?;
/// assert_eq!(pond.jobs(&JobFilter::new(), Some(cursor), 2)?.jobs.len(), 1);
/// assert!("page 2".parse::<Cursor>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor(ScanCursor);

/// Stands before each cursor's text: another form of cursor gets another letter.
const CURSOR_FORM: char = 'a';

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = postcard::to_stdvec(&self.0).map_err(|_| fmt::Error)?;
        write!(f, "{CURSOR_FORM}")?;
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = ParseCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(CURSOR_FORM).ok_or(ParseCursorError)?.as_bytes();
        let nibble = |digit: u8| char::from(digit).to_digit(16).ok_or(ParseCursorError);
        let pair = |pair: &[u8]| match pair {
            [high, low] => Ok((nibble(*high)? << 4 | nibble(*low)?) as u8),
            _ => Err(ParseCursorError),
        };
        let bytes = digits.chunks(2).map(pair).collect::<Result<Vec<u8>, _>>()?;
        match postcard::take_from_bytes(&bytes) {
            Ok((cursor, [])) => Ok(Self(cursor)),
            _ => Err(ParseCursorError),
        }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a [`Cursor`] of this version.
///
/// ```
/// use millpond::{Cursor, ParseCursorError};
///
/// assert_eq!("page 2".parse::<Cursor>(), Err(ParseCursorError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this version: start again without one")]
pub struct ParseCursorError;

/// Some jobs, and where to go on.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let page = pond.jobs(&JobFilter::new().queue("billing"), None, 2)?;
/// assert_eq!(page.jobs.len(), 2);
/// assert!(page.next.is_some());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The jobs. May be fewer than asked for even if more follow.
    pub jobs: Vec<JobInfo>,
    /// To be given to the next call; `None` at the end.
    pub next: Option<Cursor>,
}

pub(crate) fn list(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, JOBS_PER_PAGE_MAX);
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    let next = matching(engine, filter, cursor, |found| {
        bytes += size(&found);
        jobs.push(describe(engine, found.kept()));
        jobs.len() < limit && bytes < BYTES_PER_PAGE
    })?;
    Ok(Page { jobs, next })
}

/// How many jobs match.
pub(crate) fn count(engine: &Arc<Engine>, filter: &JobFilter) -> Result<u64, Error> {
    let (mut count, mut cursor) = (0, None);
    loop {
        cursor = matching(engine, filter, cursor, |_| {
            count += 1;
            true
        })?;
        if cursor.is_none() {
            return Ok(count);
        }
    }
}

/// The ids of the next jobs that match, up to `limit`, and where to go on.
pub(crate) fn ids(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<JobId>, Option<Cursor>), Error> {
    let mut ids = Vec::new();
    let next = matching(engine, filter, cursor, |found| {
        ids.push(found.id);
        ids.len() < limit
    })?;
    Ok((ids, next))
}

/// Goes through the jobs that match behind `cursor` until `take` has had enough, or a page's worth was looked at. Returns
/// where to go on, `None` at the end.
fn matching(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    cursor: Option<Cursor>,
    mut take: impl FnMut(Found) -> bool,
) -> Result<Option<Cursor>, Error> {
    let sources = filter.state.map_or(Source::ALL, Source::of);
    let mut damaged = Vec::new();
    let reader = engine.store.reader()?;
    let visit = |found: Result<Found, Fault>| match found {
        Ok(found) => !filter.matches(engine, &found, state_of(engine, &found)) || take(found),
        // The writer's to set aside, not this listing's to fail on.
        Err(Fault::Corrupt { id, .. }) => {
            damaged.push(Damage::Job(JobId::new(id)));
            true
        }
        Err(Fault::Redb(_)) => true,
    };
    let next = reader.scan(&filter.queues(engine), sources, cursor.map(|c| c.0), LOOKED_AT_PER_PAGE, visit)?;
    if !damaged.is_empty() {
        engine.set_aside(damaged, || {});
    }
    Ok(next.map(Cursor))
}

/// What a job's own bytes come to, about.
fn size(found: &Found) -> usize {
    let extra = found.record.extra.as_deref();
    let of_extra = extra.map_or(0, |extra| {
        let errors: usize = extra.errors.iter().map(|error| error.message.len()).sum();
        errors + extra.result.as_ref().map_or(0, Bytes::len) + extra.reason.as_ref().map_or(0, String::len)
    });
    found.record.payload.bytes.len() + of_extra
}

pub(crate) fn find(engine: &Arc<Engine>, id: JobId) -> Result<JobInfo, Error> {
    Ok(describe(engine, look_up(engine, &engine.store.reader()?, id)?))
}

/// One job. What is damaged of it the writer sees to.
fn look_up(engine: &Arc<Engine>, reader: &Reader, id: JobId) -> Result<Found, Error> {
    let found = reader.find(&engine.store.catalog, id).map_err(Error::from);
    let found = engine.note_damage(found)?.ok_or(Error::NoSuchJob { id })?;
    if found.unindexed {
        engine.set_aside(vec![Damage::Job(id)], || {});
    }
    Ok(found)
}

fn state_of(engine: &Engine, found: &Found) -> State {
    if engine.scheduler().is_handed_out(found.id) { State::Running } else { found.state() }
}

fn describe(engine: &Engine, found: Found) -> JobInfo {
    let state = state_of(engine, &found);
    let running = engine.executor.running.get(found.id);
    let record = found.record;
    let mut extra = record.extra.map(|extra| *extra).unwrap_or_default();
    let lineage = extra.lineage.take().map(|lineage| *lineage).unwrap_or_default();
    let attempt =
        running.as_ref().filter(|attempt| attempt.facts.called_at().is_some()).map(|attempt| attempt.number());
    JobInfo {
        id: found.id,
        queue: engine.store.catalog.queue_name(found.queue).to_string(),
        kind: engine.store.catalog.kind_name(record.kind).to_string(),
        state,
        priority: record.priority,
        group: extra.group.map(|group| group.to_string()),
        attempts: attempt.map_or(record.attempts, |attempt| attempt.number),
        max_attempts: extra.max_attempts.map(|attempts| attempts.max(1)),
        at_most_once: extra.max_attempts == Some(AT_MOST_ONCE),
        enqueued_at: record.enqueued_at,
        run_at: extra.due.map(|due| due.at),
        expires_at: extra.expiry.map(|expiry| expiry.shown),
        started_at: attempt.map(|attempt| attempt.started_at).or(extra.started_at),
        ended_at: extra.ended_at,
        snoozes: extra.snoozes,
        generation: lineage.generation,
        plugins: lineage.plugins,
        errors: extra.errors,
        reason: extra.reason,
        result: extra.result,
        unique_key: extra.unique_key,
        payload: record.payload,
        progress: running.as_ref().and_then(|attempt| attempt.facts.progress()),
        log: running.map(|attempt| attempt.facts.log()).unwrap_or_default(),
    }
}

/// Why a job is not running. Its `Display` is a sentence. Serialized its `type` is the variant's name and its fields
/// stand beside it.
///
/// ```
/// # use millpond::{*, testing::{in_memory, ManualClock}};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// let job = NewJob::json("charge", &7).delay(Duration::from_secs(60));
/// let id = pond.enqueue("billing", job).await?;
///
/// let why = pond.explain(id)?;
/// assert!(matches!(why, Explanation::NotDue { wait, .. } if wait == Duration::from_secs(60)));
/// assert_eq!(why.to_string(), "it is not due for another 60s");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum Explanation {
    /// It is running.
    Running,
    /// It has ended.
    #[non_exhaustive]
    Ended {
        /// In this state.
        state: State,
    },
    /// Nothing starts: the file cannot be written, or the runtime of its worker has ended.
    #[non_exhaustive]
    Degraded {
        /// What is in the way.
        reason: String,
    },
    /// It is not due yet.
    #[non_exhaustive]
    NotDue {
        /// When it is.
        at: Timestamp,
        /// How long that is from now.
        wait: Duration,
    },
    /// Its queue is paused.
    QueuePaused,
    /// Its group is paused.
    GroupPaused,
    /// Another job of its group goes first.
    #[non_exhaustive]
    GroupBusy {
        /// Which one.
        head: JobId,
        /// What that one is.
        state: State,
        /// How many of the group stand before it, that one included; counted up to 10,000, or 64 MiB of them.
        ahead: u64,
    },
    /// Its queue, or its group, is rate limited.
    #[non_exhaustive]
    RateLimited {
        /// For how long at least.
        wait: Duration,
    },
    /// No worker of its queue handles its kind.
    #[non_exhaustive]
    NoHandler {
        /// Its queue.
        queue: String,
        /// Its kind.
        kind: String,
        /// The kinds that the queue's worker handles, sorted. There are none if the queue has no worker.
        handled: Vec<String>,
        /// The name that was probably meant, if there is one that differs in a few letters only: of a kind that the worker
        /// handles, or, if the queue has no worker, of a queue that has one.
        nearest: Option<String>,
    },
    /// All slots of its queue's worker are taken.
    NoFreeSlot,
    /// Its handler blocks, and all threads for blocking handlers are taken
    /// ([`blocking_threads`](crate::Builder::blocking_threads)).
    NoThread,
    /// All slots of the process are taken ([`max_running`](crate::Builder::max_running)).
    #[non_exhaustive]
    ProcessBudget {
        /// How many there are.
        max_running: usize,
    },
    /// The process died before this one, and its jobs are started again one after another: a job that may have
    /// killed the process is tried first, or this job is one that ran then and waits for its turn.
    #[non_exhaustive]
    Recovering {
        /// For about how long.
        wait: Duration,
    },
    /// The queue is shutting down.
    ShuttingDown,
    /// Others go first.
    #[non_exhaustive]
    Waiting {
        /// How many; counted up to 10,000, or 64 MiB of them.
        ahead: u64,
    },
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("it is running"),
            Self::Ended { state } => write!(f, "it has ended: {state}"),
            Self::NotDue { wait, .. } => write!(f, "it is not due for another {wait:?}"),
            Self::QueuePaused => f.write_str("its queue is paused"),
            Self::GroupPaused => f.write_str("its group is paused"),
            Self::GroupBusy { head, state, ahead } => {
                write!(f, "its group is busy with job {head}, which is {state}; {ahead} of the group go first")
            }
            Self::Degraded { reason } => write!(f, "the queue is degraded: {reason}"),
            Self::RateLimited { wait } => write!(f, "it is rate limited for another {wait:?}"),
            Self::NoHandler { queue, kind, handled, nearest } => {
                match (handled.is_empty(), nearest) {
                    (true, None) => write!(f, "no worker of its queue handles kind {kind:?}")?,
                    (true, Some(_)) => write!(f, "queue {queue:?} has no worker")?,
                    (false, _) => write!(f, "the worker of queue {queue:?} handles {handled:?}, not kind {kind:?}")?,
                }
                nearest.iter().try_for_each(|nearest| write!(f, "; did you mean {nearest:?}?"))
            }
            Self::NoFreeSlot => f.write_str("all slots of its queue's worker are taken"),
            Self::NoThread => f.write_str("all threads for blocking handlers are taken (`blocking_threads`)"),
            Self::ProcessBudget { max_running } => {
                write!(f, "all {max_running} slots of the process are taken (`max_running`)")
            }
            Self::Recovering { wait } => {
                write!(f, "the process died before, and its jobs start again one after another: this one in {wait:?}")
            }
            Self::ShuttingDown => f.write_str("the queue is shutting down"),
            Self::Waiting { ahead } => write!(f, "{ahead} others go first"),
        }
    }
}

pub(crate) fn explain(engine: &Arc<Engine>, id: JobId) -> Result<Explanation, Error> {
    let reader = engine.store.reader()?;
    let found = look_up(engine, &reader, id)?;
    let now = engine.now();
    if engine.scheduler().is_handed_out(id) {
        return Ok(Explanation::Running);
    }
    let queue = found.queue;
    let position = match &found.place {
        Place::Dead { .. } | Place::Finished { .. } => return Ok(Explanation::Ended { state: found.record.state }),
        Place::Delayed { due } => return Ok(Explanation::NotDue { at: due.at, wait: due.wait(now) }),
        Place::Ready { .. } => id.get(),
        Place::Member(member) => match explain_member(engine, &reader, &found, &member.group, member.seq)? {
            Ok(position) => position,
            Err(why) => return Ok(why),
        },
    };
    let order = Order { priority: found.record.priority.get(), position };
    let group = found.record.group().map(|group| (group, order));
    let blocked = engine.scheduler().why(queue, id, found.record.kind, group, now);
    if let Some(reason) = engine.unwritable() {
        return Ok(Explanation::Degraded { reason });
    }
    Ok(match blocked {
        Blocked::QueuePaused => Explanation::QueuePaused,
        Blocked::NoHandler => match engine.runtime_ended() {
            Some(reason) => Explanation::Degraded { reason: reason.to_owned() },
            None => no_handler(engine, queue, found.record.kind),
        },
        Blocked::RateLimited(wait) => Explanation::RateLimited { wait },
        Blocked::Recovering(wait) => Explanation::Recovering { wait },
        Blocked::Draining => Explanation::ShuttingDown,
        blocked => {
            let ahead = reader.ahead(queue, order, found.record.group().is_some(), AHEAD_MOST, |id| {
                engine.scheduler().is_handed_out(id)
            })?;
            match blocked {
                _ if ahead > 0 => Explanation::Waiting { ahead },
                Blocked::NoFreeSlot => Explanation::NoFreeSlot,
                Blocked::NoThread => Explanation::NoThread,
                Blocked::ProcessBudget(max_running) => Explanation::ProcessBudget { max_running },
                _ => Explanation::Waiting { ahead },
            }
        }
    })
}

fn no_handler(engine: &Engine, queue: QueueId, kind: KindId) -> Explanation {
    let catalog = &engine.store.catalog;
    let (queue_name, kind) = (catalog.queue_name(queue).to_string(), catalog.kind_name(kind).to_string());
    let Handlers { kinds, nearest } = engine.handlers_like(queue, &kind);
    Explanation::NoHandler { queue: queue_name, kind, handled: kinds, nearest }
}

/// The position of a group's ready head, or why this member is not one.
fn explain_member(
    engine: &Engine,
    reader: &Reader,
    found: &Found,
    group: &Arc<str>,
    seq: u64,
) -> Result<Result<u64, Explanation>, Error> {
    let now = engine.now();
    let row = reader.group(found.queue, group)?;
    let own_due = found.record.due().filter(|due| !due.is_due(now));
    let not_due = own_due.map(|due| Explanation::NotDue { at: due.at, wait: due.wait(now) });
    let Some(head) = row.head else {
        return Ok(Err(not_due.unwrap_or(if row.paused {
            Explanation::GroupPaused
        } else {
            Explanation::Waiting { ahead: 0 }
        })));
    };
    if head.id != found.id {
        if let Some(why) = not_due {
            return Ok(Err(why));
        }
        let state = match reader.find(&engine.store.catalog, head.id) {
            Ok(Some(head)) => state_of(engine, &head),
            // Its record may be damaged: that is not this job's error.
            _ => State::Running,
        };
        let ahead = reader.ahead_in_group(found.queue, group, seq, AHEAD_MOST)?;
        return Ok(Err(Explanation::GroupBusy { head: head.id, state, ahead }));
    }
    Ok(match head.at {
        HeadAt::Ready { position, .. } => Ok(position),
        HeadAt::Due(due) => Err(Explanation::NotDue { at: due.at, wait: due.wait(now) }),
        HeadAt::Held => Err(Explanation::GroupPaused),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_promoted_and_taken_since_the_commit_is_counted_once() {
        let tally = Tally { pending: 3, retrying: 5, ..Tally::default() };
        for (taken, running, [pending, still_running, ending]) in
            [(0, 0, [3, 0, 0]), (2, 1, [1, 1, 1]), (4, 4, [0, 3, 0]), (8, 1, [0, 1, 2])]
        {
            let counts = split(&tally, taken, running);
            assert_eq!([counts.pending, counts.running, counts.ending], [pending, still_running, ending]);
            assert_eq!(counts.unfinished(), 8, "{taken} taken");
        }
    }
}
