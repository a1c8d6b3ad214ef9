//! The dead letters: list, edit, redrive and purge the jobs that failed permanently.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::inspect::{self, Cursor, JobFilter, Page};
use crate::job::{JobId, NewJob, State};
use crate::runtime::{Commit, Engine};
use crate::storage::Batch;
use crate::writer::dead_letters::{self as verbs, Progress};

/// Dead letters that one commit redrives or purges, at most; fewer if they are large.
const AT_ONCE: usize = 1_000;

/// The jobs that failed permanently, with their payloads, the errors of their attempts, and the reason.
///
/// ```
/// use millpond::{JobFilter, Pace};
///
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let dead = pond.dead_letters();
/// let crm = JobFilter::new().queue("crm").error_contains("503");
/// for job in dead.list(&crm, None, 20)?.jobs {
///     println!("{} {}: {:?}", job.id, job.kind, job.errors.last());
/// }
/// let redriven = dead.redrive_all(&crm, Pace::per_second(200)).await?;
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    engine: Arc<Engine>,
}

/// How fast redriven jobs become due.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let dead = pond.dead_letters();
/// dead.redrive_all(&JobFilter::new().queue("crm"), Pace::per_second(50)).await?;
/// dead.redrive_all(&JobFilter::new().queue("emails"), Pace::at_once()).await?;
/// assert_eq!(Pace::default(), Pace::per_second(500));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `None` means all at once.
    per_second: Option<u32>,
}

impl Pace {
    /// This many jobs per second. The default is 500. A redrive at a pace of 0 would never end, and is refused with
    /// [`Error::InvalidConfig`].
    pub const fn per_second(jobs: u32) -> Self {
        Self { per_second: Some(jobs) }
    }

    /// All jobs at once.
    pub const fn at_once() -> Self {
        Self { per_second: None }
    }

    /// The time between two jobs' becoming due; zero if all are due at once.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// assert_eq!(Pace::per_second(50).spacing(), Duration::from_millis(20));
    /// assert_eq!(Pace::at_once().spacing(), Duration::ZERO);
    /// ```
    pub fn spacing(&self) -> Duration {
        match self.per_second {
            Some(0) => Duration::MAX,
            Some(jobs) => Duration::from_secs(1) / jobs,
            None => Duration::ZERO,
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self.per_second {
            Some(0) => Err(Error::config("pace", "0 jobs per second would never end: the least is 1".into())),
            _ => Ok(()),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::per_second(500)
    }
}

impl DeadLetters {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The dead letters that match, by queue and oldest first, or with [`JobFilter::newest_first`] the latest of all queues first,
    /// up to `limit` (at most 1,000) or 8 MiB. A state in the filter is ignored. A page can be short, or empty, and still have a next one, as with
    /// [`Millpond::jobs`](crate::Millpond::jobs).
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # dead_letters(&pond, "card expired", [7]).await?;
    /// let page = pond.dead_letters().list(&JobFilter::new().queue("billing"), None, 20)?;
    /// assert_eq!(page.jobs[0].reason.as_deref(), Some("card expired"));
    /// assert_eq!(page.next, None);
    /// # Ok(()) });
    /// ```
    pub fn list(&self, filter: &JobFilter, cursor: Option<Cursor>, limit: usize) -> Result<Page, Error> {
        inspect::list(&self.engine, &filter.clone().state(State::Dead), cursor, limit)
    }

    /// How many dead letters match. This reads all of them; to count all dead letters of a queue,
    /// [`Counts::dead`](crate::Counts::dead) costs nothing.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # dead_letters(&pond, "card expired", [7, 8]).await?;
    /// let expired = JobFilter::new().queue("billing").error_contains("expired");
    /// assert_eq!(pond.dead_letters().count(&expired)?, 2);
    /// # Ok(()) });
    /// ```
    pub fn count(&self, filter: &JobFilter) -> Result<u64, Error> {
        inspect::count(&self.engine, &filter.clone().state(State::Dead))
    }

    /// The ids of the next dead letters that match, and where the listing continues.
    fn ids(&self, filter: &JobFilter, cursor: Option<Cursor>) -> Result<(Vec<JobId>, Option<Cursor>), Error> {
        inspect::ids(&self.engine, &filter.clone().state(State::Dead), cursor, AT_ONCE)
    }

    /// Puts a dead letter back into its queue, with all its attempts available again. If it has a group, it goes to the
    /// group's end. Returns false if the job is not a dead letter.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let id = dead_letters(&pond, "card expired", [7]).await?[0];
    /// # pond.queue("billing")?.pause().await?;
    /// assert_eq!(pond.job(id)?.state, State::Dead);
    ///
    /// assert!(pond.dead_letters().redrive(id).await?);
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// assert!(!pond.dead_letters().redrive(id).await?);
    /// # Ok(()) });
    /// ```
    pub fn redrive(&self, id: impl Into<JobId>) -> Commit<bool> {
        let redriven = self.redrive_some([id.into()], Pace::at_once());
        Commit::new(async move { Ok(redriven.await? > 0) })
    }

    /// Puts these dead letters back at this pace. Ids of jobs that are not dead letters are ignored. Returns how many
    /// were put back.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a pace of 0; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # dead_letters(&pond, "card expired", [7, 8]).await?;
    /// let dead = pond.dead_letters();
    /// let page = dead.list(&JobFilter::new().queue("billing"), None, 100)?;
    /// let chosen: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
    /// assert_eq!(dead.redrive_some(chosen, Pace::per_second(10)).await?, 2);
    /// # Ok(()) });
    /// ```
    pub fn redrive_some(&self, ids: impl IntoIterator<Item = impl Into<JobId>>, pace: Pace) -> Commit<u64> {
        let ids: Vec<JobId> = ids.into_iter().map(Into::into).collect();
        let engine = self.engine.clone();
        Commit::new(async move {
            pace.check()?;
            let (mut ids, mut redriven) = (&ids[..], 0);
            while !ids.is_empty() {
                let some = ids[..ids.len().min(AT_ONCE)].to_vec();
                let Progress { changed, looked_at } = redrive_chunk(&engine, some, redriven, pace).await?;
                redriven += changed;
                ids = &ids[looked_at..];
            }
            if redriven > 0 {
                tracing::info!(jobs = redriven, "dead letters redriven");
            }
            Ok(redriven)
        })
    }

    /// Puts all dead letters that match back at this pace. Each job gets a time to run, so that a redrive of 100,000
    /// jobs does not flood the queue, and continues after a restart. A job with a group gets no such time: its group's
    /// jobs run one after another. Returns how many were put back.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a pace of 0; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let worker = pond.worker("crm").handle(|_: Job<Charge>| async { Ok(Outcome::dead_letter("503")) }).start()?;
    /// # pond.enqueue_many("crm", (0..3).map(|order| Charge { order })).await?;
    /// # drain(&pond).await;
    /// # worker.stop();
    /// let outage = JobFilter::new().queue("crm").error_contains("503");
    /// assert_eq!(pond.dead_letters().redrive_all(&outage, Pace::per_second(1)).await?, 3);
    ///
    /// let counts = pond.queue("crm")?.counts();
    /// assert_eq!((counts.dead, counts.pending, counts.scheduled), (0, 1, 2));
    /// # Ok(()) });
    /// ```
    pub fn redrive_all(&self, filter: &JobFilter, pace: Pace) -> Commit<u64> {
        let (dead, filter) = (self.clone(), filter.clone());
        Commit::new(async move {
            pace.check()?;
            // Collect all ids first: a job that fails again at once must not be found again.
            let (mut ids, mut cursor) = (Vec::new(), None);
            loop {
                let (some, next) = dead.ids(&filter, cursor)?;
                ids.extend(some);
                cursor = next;
                if cursor.is_none() {
                    return dead.redrive_some(ids, pace).await;
                }
            }
        })
    }

    /// Replaces a dead letter's payload with `payload`, which must be of the same kind: a typed payload, or a
    /// [`NewJob`] for payloads without a type. Nothing else of the job can be changed.
    ///
    /// # Errors
    /// [`Error::NoSuchJob`] if there is no such dead letter, [`Error::InvalidConfig`] if the kind differs or `payload`
    /// has options, such as a priority; those of [`Millpond::enqueue`](crate::Millpond::enqueue) for a payload that is
    /// not accepted.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let worker = pond.worker("billing").handle(|_: Job<Charge>| async { Ok(Outcome::dead_letter("no such order")) }).start()?;
    /// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
    /// # drain(&pond).await;
    /// # worker.stop();
    /// let dead = pond.dead_letters();
    /// dead.edit(id, Charge { order: 70 }).await?;
    /// dead.edit(id, NewJob::json("charge", &serde_json::json!({ "order": 71 }))).await?;
    ///
    /// let other = NewJob::json("refund", &71);
    /// assert!(matches!(dead.edit(id, other).await, Err(Error::InvalidConfig { field: "payload", .. })));
    ///
    /// dead.redrive(id).await?;
    /// assert_eq!(pond.job(id)?.payload.decode::<Charge>()?.order, 71);
    /// # Ok(()) });
    /// ```
    pub fn edit(&self, id: impl Into<JobId>, payload: impl Into<NewJob>) -> Commit<()> {
        let (engine, id, payload) = (self.engine.clone(), id.into(), payload.into());
        Commit::new(async move {
            let info = inspect::find(&engine, id)?;
            let payload = engine.prepare_payload(&info.queue, &info.kind, payload)?;
            engine.change_with(payload.bytes.len(), move |batch| verbs::edit(batch, id, &payload)).await
        })
    }

    /// Removes a dead letter permanently. Returns false if the job is not a dead letter.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let id = dead_letters(&pond, "no such order", [7]).await?[0];
    /// assert!(pond.dead_letters().purge(id).await?);
    /// assert!(matches!(pond.job(id), Err(Error::NoSuchJob { .. })));
    /// # Ok(()) });
    /// ```
    pub fn purge(&self, id: impl Into<JobId>) -> Commit<bool> {
        let id = id.into();
        let purged = self.engine.change(move |batch: &mut Batch<'_>| verbs::purge(batch, &[id]));
        Commit::new(async move { Ok(purged.await?.changed > 0) })
    }

    /// Removes these dead letters permanently. Ids of jobs that are not dead letters are ignored. Returns how many were removed.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # let ids = dead_letters(&pond, "no such order", 0..3).await?;
    /// assert_eq!(pond.dead_letters().purge_some(ids[..2].to_vec()).await?, 2);
    /// assert_eq!(pond.queue("billing")?.counts().dead, 1);
    /// # Ok(()) });
    /// ```
    pub fn purge_some(&self, ids: impl IntoIterator<Item = impl Into<JobId>>) -> Commit<u64> {
        let ids: Vec<JobId> = ids.into_iter().map(Into::into).collect();
        let engine = self.engine.clone();
        Commit::new(async move {
            let (mut ids, mut purged) = (&ids[..], 0);
            while !ids.is_empty() {
                let some = ids[..ids.len().min(AT_ONCE)].to_vec();
                let purge = engine.change_in_bulk(move |batch| verbs::purge(batch, &some));
                let Progress { changed, looked_at } = purge.await?;
                purged += changed;
                ids = &ids[looked_at..];
            }
            Ok(purged)
        })
    }

    /// Removes all dead letters that match permanently. Returns how many were removed.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// # dead_letters(&pond, "no such order", 0..3).await?;
    /// let hopeless = JobFilter::new().queue("billing").error_contains("no such order");
    /// assert_eq!(pond.dead_letters().purge_all(&hopeless).await?, 3);
    /// assert_eq!(pond.queue("billing")?.counts().dead, 0);
    /// # Ok(()) });
    /// ```
    pub fn purge_all(&self, filter: &JobFilter) -> Commit<u64> {
        let (dead, filter) = (self.clone(), filter.clone());
        Commit::new(async move {
            let (mut purged, mut cursor) = (0, None);
            loop {
                let (ids, next) = dead.ids(&filter, cursor)?;
                purged += dead.purge_some(ids).await?;
                cursor = next;
                if cursor.is_none() {
                    return Ok(purged);
                }
            }
        })
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

fn redrive_chunk(engine: &Arc<Engine>, ids: Vec<JobId>, before: u64, pace: Pace) -> Commit<Progress> {
    let first_after = pace.spacing().saturating_mul(u32::try_from(before).unwrap_or(u32::MAX));
    engine.change_in_bulk(move |batch| verbs::redrive(batch, &ids, first_after, pace.spacing()))
}
