//! Many jobs at once: count, cancel, change, delete or run all that match a filter.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use crate::error::Error;
use crate::inspect::{self, Chunk, Cursor, JobFilter};
use crate::job::{JobId, JobPatch, NewJob, Patch, QueueId, REASON_BYTES_MAX, StoredPayload, check_name};
use crate::runtime::{Commit, Engine, beside};
use crate::storage::{Batch, Source, Target};
use crate::text::cut;
use crate::time::Timestamp;
use crate::writer::bulk;
use crate::writer::dead_letters::Progress;

/// Jobs that one chunk looks up and one commit changes, at most; fewer if they are large.
const AT_ONCE: usize = 1_000;

/// Where jobs wait for a slot, a time, or other jobs of their flows.
const WAITING: &[Source] = &[Source::Ready, Source::Delayed, Source::DelayedByEngine, Source::Members, Source::Blocked];

/// Where jobs wait for a time.
const NOT_DUE: &[Source] = &[Source::Delayed, Source::DelayedByEngine, Source::Members];

/// Where jobs wait or are dead letters.
const MOVABLE: &[Source] =
    &[Source::Ready, Source::Delayed, Source::DelayedByEngine, Source::Members, Source::Dead, Source::Blocked];

/// The jobs that match a filter, to be changed all together.
///
/// A verb covers the jobs that exist when it begins. It works in chunks of at most 1,000 jobs, each a commit of its own, which
/// it shares with other calls: so it does not stop the queue, however many jobs match. Just before a job is changed, it is
/// checked again that the job matches and is in a state in which the verb applies; otherwise the job is passed over. A job
/// whose handler is running is passed over by all verbs but [`cancel`](Self::cancel).
///
/// If the process ends in the middle, the chunks that were committed remain. The verb can simply be called again. To
/// continue instead of looking at all jobs again, keep the cursor that [`on_progress`](Self::on_progress) gets, and pass it to
/// [`resume_at`](Self::resume_at).
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let unpaid = JobFilter::new().queue("billing").json_equals("/order", 2);
/// assert_eq!(pond.select(&unpaid).count().await?, 1);
///
/// let done = pond.select(&unpaid).cancel("the order was withdrawn").await?;
/// assert_eq!((done.matched, done.changed), (1, 1));
/// assert_eq!(pond.queue("billing")?.counts().pending, 2);
/// # Ok(()) });
/// ```
#[must_use = "a selection does nothing until one of its verbs is awaited"]
pub struct Selection {
    engine: Arc<Engine>,
    filter: JobFilter,
    resume_at: Option<Cursor>,
    on_progress: Option<OnProgress>,
}

type OnProgress = Box<dyn FnMut(&BulkProgress) + Send>;

/// How far a verb of a [`Selection`] has come.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
/// let BulkProgress { matched, changed, next, .. } = pond.select(&JobFilter::new()).delete().await?;
/// assert_eq!((matched, changed, next), (3, 3, None));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Jobs that were found.
    pub matched: u64,
    /// Jobs that were changed. The others have started, ended or changed in the meantime, or their handlers were running.
    pub changed: u64,
    /// Where the verb continues after the jobs that were found so far; `None` at its end.
    pub next: Option<Cursor>,
}

impl Selection {
    pub(crate) fn new(engine: Arc<Engine>, filter: JobFilter) -> Self {
        Self { engine, filter, resume_at: None, on_progress: None }
    }

    /// Continues where an earlier call of the same verb with the same filter has stopped.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// use std::sync::{Arc, Mutex};
    ///
    /// let kept = Arc::new(Mutex::new(None));
    /// let keep = kept.clone();
    /// let selection = pond.select(&JobFilter::new().queue("billing"));
    /// selection.on_progress(move |progress| *keep.lock().unwrap() = progress.next.clone()).run_now().await?;
    ///
    /// let next: Option<Cursor> = kept.lock().unwrap().clone();
    /// if let Some(cursor) = next {
    ///     pond.select(&JobFilter::new().queue("billing")).resume_at(cursor).run_now().await?;
    /// }
    /// # Ok(()) });
    /// ```
    pub fn resume_at(mut self, cursor: Cursor) -> Self {
        self.resume_at = Some(cursor);
        self
    }

    /// Calls `observe` after each chunk, in the task that awaits the verb.
    pub fn on_progress(mut self, observe: impl FnMut(&BulkProgress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(observe));
        self
    }

    /// How many jobs match now, in every state. It changes nothing. It reads all jobs of the filter's
    /// queue, or those that have its tag, a page at a time.
    ///
    /// # Errors
    /// Storage errors.
    pub fn count(self) -> Commit<u64> {
        let Self { engine, filter, .. } = self;
        beside(engine.clone(), move || inspect::count(&engine, &filter))
    }

    /// Cancels the jobs that wait, and requests the cancel of those that run. Both count as changed.
    ///
    /// # Errors
    /// Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.enqueue_many("emails", (0..3).map(|order| Charge { order })).await?;
    /// let all = JobFilter::new().queue("emails");
    /// pond.select(&all).cancel("the newsletter was recalled").await?;
    /// assert_eq!(pond.queue("emails")?.counts().cancelled, 3);
    /// # Ok(()) });
    /// ```
    pub fn cancel(self, reason: impl Into<String>) -> Commit<BulkProgress> {
        let reason = cut(reason.into(), REASON_BYTES_MAX);
        self.each("cancel", WAITING, Met::Later, move |batch, target| {
            Ok(batch.cancel_job(target, &reason)?.has_changed())
        })
    }

    /// Makes the scheduled and retrying jobs due now.
    ///
    /// # Errors
    /// Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// pond.enqueue("billing", NewJob::json("charge", &7).delay(Duration::from_secs(60))).await?;
    /// let done = pond.select(&JobFilter::new().state(State::Scheduled)).run_now().await?;
    /// assert_eq!((done.changed, pond.queue("billing")?.counts().pending), (1, 1));
    /// # Ok(()) });
    /// ```
    pub fn run_now(self) -> Commit<BulkProgress> {
        let patch = Patch { run_at: Some(Timestamp::EPOCH), ..Patch::default() };
        self.each("run now", NOT_DUE, Met::Behind, move |batch, target| batch.update_job(target, &patch).map(|()| true))
    }

    /// Changes the jobs that wait.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a payload if the filter does not name its [kind](JobFilter::kind); those of
    /// [`Millpond::enqueue`](crate::Millpond::enqueue) for a payload that is not accepted; storage errors. The chunks that were
    /// committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
    /// let charges = JobFilter::new().queue("billing").kind("charge");
    /// let done = pond.select(&charges).update(JobPatch::new().priority(Priority::LAST)).await?;
    /// assert_eq!(done.changed, 3);
    /// # Ok(()) });
    /// ```
    pub fn update(self, patch: JobPatch) -> Commit<BulkProgress> {
        let engine = self.engine.clone();
        Commit::new(async move {
            let patch = patch.stored(|payload| self.checked(&engine, payload))?;
            let met = if patch.run_at.is_some() { Met::Ahead } else { Met::Behind };
            let verb = move |batch: &mut Batch<'_>, target| batch.update_job(target, &patch).map(|()| true);
            self.each("update", WAITING, met, verb).await
        })
    }

    /// Moves the jobs that wait, and the dead letters, to another queue. They keep their ids, their places by priority and
    /// id, and the times for which they wait. A job with a group joins the end of its group there. A job whose unique key
    /// another job holds in that queue is passed over.
    ///
    /// # Errors
    /// Those of [`Millpond::queue`](crate::Millpond::queue) for the name; [`Error::QueueFull`] once the queue is full; storage
    /// errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let id = dead_letters(&pond, "no such order", [7]).await?[0];
    /// pond.select(&JobFilter::new().queue("billing").state(State::Dead)).move_to("to-be-checked").await?;
    /// assert_eq!(pond.job(id)?.queue, "to-be-checked");
    /// # Ok(()) });
    /// ```
    pub fn move_to(self, queue: &str) -> Commit<BulkProgress> {
        let (name, queue) = (check_name("queue", queue), queue.to_owned());
        Commit::new(async move {
            name?;
            self.each("move", MOVABLE, Met::Ahead, move |batch, target| bulk::move_to(batch, target, &queue)).await
        })
    }

    /// Removes the jobs for good, whether they wait or have ended, with their errors and results. Their unique keys are free
    /// at once.
    ///
    /// # Errors
    /// Storage errors. The chunks that were committed before remain.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let id = dead_letters(&pond, "no such order", [7]).await?[0];
    /// let done = pond.select(&JobFilter::new().state(State::Dead)).delete().await?;
    /// assert_eq!(done.changed, 1);
    /// assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) });
    /// ```
    pub fn delete(self) -> Commit<BulkProgress> {
        self.each("delete", Source::ALL, Met::NoMore, bulk::delete)
    }

    /// Removes the jobs that wait for good.
    pub(crate) fn drain(self) -> Commit<BulkProgress> {
        self.each("drain", WAITING, Met::NoMore, bulk::delete)
    }

    /// The payload of a patch, which must be one for all jobs of the selection.
    fn checked(&self, engine: &Engine, payload: NewJob) -> Result<StoredPayload, Error> {
        let Some(kind) = self.filter.only_kind() else {
            let reason = "the jobs of the selection can be of several kinds: name one in the filter";
            return Err(Error::config("payload", reason.into()));
        };
        engine.prepare_payload(self.filter.only_queue().unwrap_or("any"), kind, payload)
    }

    /// Calls `verb` for each job in these sources that matches. `met` says whether a job that was changed can be met again.
    fn each<V>(self, name: &'static str, sources: &'static [Source], met: Met, verb: V) -> Commit<BulkProgress>
    where
        V: FnMut(&mut Batch<'_>, Target) -> Result<bool, Error> + Clone + Send + 'static,
    {
        let Self { engine, filter, resume_at: mut cursor, mut on_progress } = self;
        Commit::new(async move {
            let reader = engine.clone();
            let before = beside(engine.clone(), move || Ok(reader.reader()?.next_id()?)).await?;
            let mut done = BulkProgress::default();
            let mut seen = HashSet::new();
            let mut pass = Pass::default();
            loop {
                let (reader, matching) = (engine.clone(), filter.clone());
                let chunk = move || inspect::chunk(&reader, &matching, sources, before, cursor, AT_ONCE);
                let Chunk { mut jobs, next } = beside(engine.clone(), chunk).await?;
                jobs.retain(|(_, id)| match met {
                    Met::Ahead => seen.insert(*id),
                    Met::Later => !seen.contains(id),
                    Met::NoMore | Met::Behind => true,
                });
                let matched = jobs.len() as u64;
                let changed_before = done.changed;
                while !jobs.is_empty() {
                    let Progress { changed, looked_at } = change(&engine, &filter, jobs.clone(), verb.clone()).await?;
                    done.changed += changed;
                    let looked_at = jobs.drain(..looked_at).map(|(_, id)| id);
                    if met == Met::Later {
                        let scheduler = engine.scheduler();
                        seen.extend(looked_at.filter(|id| scheduler.is_handed_out(*id)));
                    }
                }
                let changed = done.changed - changed_before;
                // A later pass meets again what could not be changed.
                done.matched += if pass.is_later { changed } else { matched };
                done.next = next;
                pass.chunk(changed);
                if let Some(observe) = &mut on_progress {
                    observe(&done);
                }
                if done.next.is_none() && !(met.may_pass_again() && pass.begin_next()) {
                    break;
                }
                cursor = done.next.clone();
            }
            tracing::info!(
                verb = name,
                matched = done.matched,
                changed = done.changed,
                "a selection of jobs was changed"
            );
            Ok(done)
        })
    }
}

/// Whether a job that was changed can be met again by the same verb.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Met {
    /// No: it is not in the sources any more.
    NoMore,
    /// Only by a later pass, if a handler has it and was asked to stop.
    Later,
    /// Not by the same pass: it is where it was, or behind the cursor.
    Behind,
    /// By the same pass too: with another time to run, or in another queue, it can be ahead of the cursor.
    Ahead,
}

impl Met {
    /// Whether the verb can pass through the sources again.
    fn may_pass_again(self) -> bool {
        matches!(self, Self::NoMore | Self::Later)
    }
}

/// One pass of a verb through the sources. Between two of its chunks, a job that becomes due moves to where the pass may have
/// been already. So a pass of several chunks is followed by another one, until one has changed nothing.
#[derive(Default)]
struct Pass {
    /// Whether another pass was made before.
    is_later: bool,
    chunks: usize,
    changed: u64,
}

impl Pass {
    fn chunk(&mut self, changed: u64) {
        self.chunks += 1;
        self.changed += changed;
    }

    /// Begins the next pass. Returns false if none is needed.
    fn begin_next(&mut self) -> bool {
        let is_needed = self.chunks > 1 && self.changed > 0;
        *self = Self { is_later: true, ..Self::default() };
        is_needed
    }
}

/// Has one chunk changed.
fn change<V>(engine: &Arc<Engine>, filter: &JobFilter, jobs: Vec<(QueueId, JobId)>, mut verb: V) -> Commit<Progress>
where
    V: FnMut(&mut Batch<'_>, Target) -> Result<bool, Error> + Send + 'static,
{
    let (looking, filter) = (engine.clone(), filter.clone());
    engine.change_chunk(jobs, move |batch, targets| {
        bulk::each(batch, targets, |batch, target| {
            let found = bulk::found(batch, target)?;
            let matches = found.is_some_and(|found| inspect::still_matches(&looking, &filter, &found));
            if matches { verb(batch, target) } else { Ok(false) }
        })
    })
}

impl std::fmt::Debug for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection").field("filter", &self.filter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ManualClock, in_memory};

    #[test]
    fn a_job_that_no_longer_matches_when_its_turn_comes_is_passed_over() {
        let pond = in_memory(&ManualClock::new()).unwrap();
        let jobs = [1, 2].map(|n| pond.enqueue("q", NewJob::json("k", &n)).wait().unwrap().id);
        let queue = pond.engine().find_queue("q").unwrap();
        let chunk = jobs.map(|id| (queue, id)).to_vec();
        let second = JobFilter::new().json_equals("", 2);
        let done = change(pond.engine(), &second, chunk, bulk::delete).wait().unwrap();
        assert_eq!(done, Progress { changed: 1, looked_at: 2 });
        assert!(pond.job(jobs[0]).is_ok() && pond.job(jobs[1]).is_err());
    }
}
