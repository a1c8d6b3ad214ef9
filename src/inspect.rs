//! Reading: jobs with their history, listings by page, the counts of a queue, the reason why a job is not running, and
//! the facts of the storage and of the process.

mod counts;
mod cursor;
mod explanation;
mod filter;
mod flow_names;
mod group_info;
mod job_info;
mod limits;
#[cfg(feature = "wasm")]
mod plugin_status;
mod process_info;
mod storage_info;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::error::panics::text_of;
use crate::executor::Attempt;
use crate::job::{AT_MOST_ONCE, AttemptLog, AttemptNumber, Coder, EndedJob, JobId, QueueId, State, StoredLog};
use crate::runtime::Engine;
use crate::storage::{Damage, Fault, Found, Place, Reader, ScanFrom, ScanMost, Source};
use crate::time::Due;
pub use counts::Counts;
pub(crate) use counts::counts;
pub use cursor::{Cursor, ParseCursorError};
pub use explanation::Explanation;
pub(crate) use explanation::explain;
pub use filter::JobFilter;
use flow_names::FlowNames;
pub(crate) use group_info::groups;
pub use group_info::{GroupInfo, GroupPage};
pub use job_info::JobInfo;
pub use limits::LimitInfo;
pub(crate) use limits::limits;
#[cfg(feature = "wasm")]
pub use plugin_status::PluginStatus;
#[cfg(feature = "wasm")]
pub(crate) use plugin_status::{plugin, plugins};
pub use process_info::ProcessInfo;
pub(crate) use process_info::process;
pub use storage_info::StorageInfo;
pub(crate) use storage_info::storage;

/// How much one page reads, at most: a filter that matches few jobs must not hold a snapshot of the file for long. A
/// page can therefore be short, or empty, and still have a next one.
const READ_PER_PAGE: ScanMost = ScanMost { rows: 10_000, bytes: 64 << 20 };

/// Jobs on one page, at most.
const JOBS_PER_PAGE_MAX: usize = 1_000;

/// Bytes on one page, approximately: a page ends with the job that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// A page of jobs, and where the next one begins.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let page = pond.jobs(&JobFilter::new().queue("billing"), None, 2)?;
/// assert_eq!(page.jobs.len(), 2);
/// assert!(page.next.is_some());
/// # Ok(()) });
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The jobs. They can be fewer than the limit even if more follow.
    pub jobs: Vec<JobInfo>,
    /// Pass this to the next call; `None` at the end.
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
    let from = ScanFrom { cursor: cursor.map(|cursor| cursor.0), direction: filter.direction() };
    let mut flows = FlowNames::new(engine);
    let next = matching(engine, filter, from, |found| {
        let stored = size(&found);
        let job = describe(engine, found.kept(), &mut flows);
        // The payload codec may make much of few bytes.
        bytes += stored.max(job.payload.bytes.len() + job.result.as_ref().map_or(0, Bytes::len));
        jobs.push(job);
        jobs.len() < limit && bytes < BYTES_PER_PAGE
    })?;
    Ok(Page { jobs, next })
}

/// How many jobs match.
pub(crate) fn count(engine: &Arc<Engine>, filter: &JobFilter) -> Result<u64, Error> {
    let (mut count, mut cursor) = (0, None);
    loop {
        cursor = matching(engine, filter, forwards(cursor), |_| {
            count += 1;
            true
        })?;
        if cursor.is_none() {
            return Ok(count);
        }
    }
}

/// The ids of the next jobs that match, up to `limit`, and where the listing continues.
pub(crate) fn ids(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<(Vec<JobId>, Option<Cursor>), Error> {
    let mut ids = Vec::new();
    let next = matching(engine, filter, forwards(cursor), |found| {
        ids.push(found.id);
        ids.len() < limit
    })?;
    Ok((ids, next))
}

/// Some jobs that match, each with its queue.
pub(crate) struct Chunk {
    pub jobs: Vec<(QueueId, JobId)>,
    /// Where the listing continues; `None` at the end.
    pub next: Option<Cursor>,
}

/// The next jobs in these `sources` that match and are older than `before`, up to `limit`.
pub(crate) fn chunk(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    sources: &[Source],
    before: JobId,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Chunk, Error> {
    let sources: Vec<_> = filter.sources().iter().filter(|source| sources.contains(source)).copied().collect();
    let mut jobs = Vec::new();
    let next = matching_in(engine, filter, &sources, forwards(cursor), |found| {
        if found.id < before {
            jobs.push((found.queue, found.id));
        }
        jobs.len() < limit
    })?;
    Ok(Chunk { jobs, next })
}

/// Whether a job that the writer has just read matches.
pub(crate) fn still_matches(engine: &Engine, filter: &JobFilter, found: &Found) -> bool {
    filter.matches(engine, found, state_of(engine, found))
}

/// The order of a filter matters only where its jobs are listed.
fn forwards(cursor: Option<Cursor>) -> ScanFrom {
    ScanFrom { cursor: cursor.map(|cursor| cursor.0), ..ScanFrom::default() }
}

/// Calls `take` with each matching job from there on, until it returns false or as much was read as one page may
/// read. Returns where the listing continues, `None` at the end.
fn matching(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    from: ScanFrom,
    take: impl FnMut(Found) -> bool,
) -> Result<Option<Cursor>, Error> {
    matching_in(engine, filter, filter.sources(), from, take)
}

/// [`matching`] in these sources only.
fn matching_in(
    engine: &Arc<Engine>,
    filter: &JobFilter,
    sources: &[Source],
    from: ScanFrom,
    mut take: impl FnMut(Found) -> bool,
) -> Result<Option<Cursor>, Error> {
    let mut damaged = Vec::new();
    let reader = engine.reader()?;
    let visit = |found: Result<Found, Fault>| match found {
        Ok(found) => !filter.matches(engine, &found, state_of(engine, &found)) || take(found),
        // The writer moves the row to the quarantine; the listing does not fail.
        Err(Fault::Corrupt { id, .. }) => {
            damaged.push(Damage::Job(JobId::new(id)));
            true
        }
        Err(Fault::Redb(_)) => true,
    };
    let queues = filter.queues(engine);
    let is_merged = filter.only_queue().is_none() && from.is_merged(queues.len());
    let next = match filter.indexed_tag() {
        None if is_merged => reader.scan_newest(&queues, sources, from.cursor, READ_PER_PAGE, visit)?,
        None => reader.scan(&queues, sources, from, READ_PER_PAGE, visit)?,
        Some(_) if queues.is_empty() => None,
        Some(tag) if is_merged => reader.scan_tag_newest(tag, &queues, sources, from.cursor, READ_PER_PAGE, visit)?,
        Some(tag) => {
            let queue = filter.only_queue().and(queues.first().copied());
            reader.scan_tag(tag, queue, sources, from, READ_PER_PAGE, visit)?
        }
    };
    if !damaged.is_empty() {
        engine.quarantine(damaged, || {});
    }
    Ok(next.map(Cursor))
}

/// The size of a job in bytes, approximately.
fn size(found: &Found) -> usize {
    let extra = found.record.extra.as_deref();
    let of_extra = extra.map_or(0, |extra| {
        let errors: usize = extra.errors.iter().map(|error| error.message.len()).sum();
        errors + extra.result.as_ref().map_or(0, Bytes::len) + extra.reason.as_ref().map_or(0, String::len)
    });
    found.record.payload.bytes.len() + of_extra
}

pub(crate) fn find(engine: &Arc<Engine>, id: JobId) -> Result<JobInfo, Error> {
    Ok(describe(engine, look_up(engine, &engine.reader()?, id)?, &mut FlowNames::new(engine)))
}

/// A job that has ended, as its end was noted.
pub(crate) fn describe_ended(engine: &Engine, ended: EndedJob) -> Result<JobInfo, Error> {
    let EndedJob { id, queue, record } = ended;
    let Some(record) = record else { return Err(Error::NoSuchJob { id }) };
    let (state, at) = (record.state, record.enqueued_at);
    let place = Place::Finished { state, at };
    let info = describe(engine, Found { id, queue, place, record, unindexed: false }, &mut FlowNames::new(engine));
    // A dead letter may run again by now.
    Ok(JobInfo { state, ..info })
}

/// Finds one job. If something of it is damaged, the writer is told to repair it.
fn look_up(engine: &Arc<Engine>, reader: &Reader, id: JobId) -> Result<Found, Error> {
    let found = engine.find(reader, id).map_err(Error::from);
    let found = engine.note_damage(found)?.ok_or(Error::NoSuchJob { id })?;
    if found.unindexed {
        engine.quarantine(vec![Damage::Job(id)], || {});
    }
    Ok(found)
}

fn state_of(engine: &Engine, found: &Found) -> State {
    if engine.scheduler().is_handed_out(found.id) { State::Running } else { found.state() }
}

fn describe(engine: &Engine, found: Found, flows: &mut FlowNames<'_>) -> JobInfo {
    let state = state_of(engine, &found);
    let running = engine.running_attempt(found.id);
    let coder = engine.coder();
    let mut record = found.record;
    coder.read_texts(&mut record);
    let (payload, mut codec_error) = coder.payload_or_stored(&record.payload);
    let payload = payload.into_owned();
    let mut extra = record.extra.map(|extra| *extra).unwrap_or_default();
    let lineage = extra.lineage.take().map(|lineage| *lineage).unwrap_or_default();
    let labels = extra.labels.take().map(Arc::unwrap_or_clone).unwrap_or_default();
    let result = extra.result.map(|stored| {
        coder.result(stored.clone(), extra.is_result_coded).unwrap_or_else(|error| {
            codec_error.get_or_insert(error);
            stored
        })
    });
    let attempt =
        running.as_ref().filter(|attempt| attempt.facts.called_at().is_some()).map(|attempt| attempt.number());
    let logs = logs(coder, extra.logs.as_deref(), running.as_deref());
    let latest = logs.last().filter(|log| attempt.is_none() || log.ended_at.is_none());
    let progress = latest.and_then(|log| log.progress.clone());
    JobInfo {
        id: found.id,
        queue: engine.queue_name(found.queue).to_string(),
        kind: engine.kind_name(record.kind).to_string(),
        state,
        priority: record.priority,
        group: extra.group.map(|group| group.to_string()),
        attempts: attempt.map_or(record.attempts, |attempt| attempt.number),
        max_attempts: extra.max_attempts.map(|attempts| attempts.max(1)),
        at_most_once: extra.max_attempts == Some(AT_MOST_ONCE),
        enqueued_at: record.enqueued_at,
        // A job that waits for a signal is due at no time.
        run_at: extra.due.filter(|due| *due != Due::NEVER).map(|due| due.at),
        expires_at: extra.expiry.map(|expiry| expiry.shown),
        weight: extra.weight.unwrap_or(1),
        started_at: attempt.map(|attempt| attempt.started_at).or(extra.started_at),
        ended_at: extra.ended_at,
        snoozes: extra.snoozes,
        generation: lineage.generation,
        plugins: lineage.plugins,
        errors: extra.errors,
        reason: extra.reason,
        result,
        unique: extra.unique_key.as_ref().map(|_| extra.unique),
        unique_key: extra.unique_key,
        flow: extra.flow.and_then(|flow| flows.name(flow)),
        tags: labels.tags,
        headers: labels.headers,
        undoing: extra.undo.map(|undo| undo.ends.state()),
        idempotency_key: extra.idempotency_key,
        scheduled_for: extra.scheduled_for.map(|run| *run),
        entry: extra.entry.and_then(|entry| entry.place).map(|place| place.of.clone()),
        payload,
        codec_error: codec_error.map(|error| text_of(&*error)),
        progress,
        logs,
    }
}

/// What the attempts of a job have reported: those of which something is `kept`, and the one that runs.
fn logs(coder: &Coder, kept: Option<&Vec<Arc<StoredLog>>>, running: Option<&Attempt>) -> Vec<AttemptLog> {
    let kept = kept.into_iter().flatten().map(|log| {
        let StoredLog { attempt, started_at, ended_at, ref reported } = **log;
        coder.report(reported, ended_at).shown(attempt, started_at, Some(ended_at))
    });
    let running = running.and_then(|attempt| {
        let AttemptNumber { number, started_at, .. } = attempt.number();
        Some(attempt.facts.reported()?.shown(number, started_at, None))
    });
    kept.chain(running).collect()
}
