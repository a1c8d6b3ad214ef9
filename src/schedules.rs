//! The schedules: list them, change, pause, resume and remove them, run one now, and see when it runs next.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::job::{JobId, Misfire, NewJob, Overlap, Payload, Schedule, SchedulePatch, Scheduled, check_schedule_name};
use crate::runtime::{Commit, Engine};
use crate::storage::{Damage, Prepared, StoredSchedule, define};
use crate::time::{Timestamp, in_seconds};

/// Schedules in one page, at most.
const SCHEDULES_PER_PAGE_MAX: usize = 1_000;

/// Bytes in one page, approximately: a page ends with the schedule that reaches this.
const BYTES_PER_PAGE: usize = 8 << 20;

/// Times that [`Schedules::next`] returns, at most.
const TIMES_MAX: usize = 1_000;

/// The schedules of the file. [`Millpond::schedule`](crate::Millpond::schedule) stores one.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
/// pond.schedule("charge", hourly).await?;
///
/// let schedules = pond.schedules();
/// let mut after = String::new();
/// loop {
///     let page = schedules.list(&after, 100)?;
///     let Some(last) = page.last() else { break };
///     after = last.name.clone();
///     for schedule in &page {
///         println!("{}: {}, next at {:?}", schedule.name, schedule.when, schedule.next);
///     }
/// }
/// # assert_eq!(after, "charge");
/// # Ok(()) });
/// ```
#[derive(Clone)]
pub struct Schedules {
    engine: Arc<Engine>,
}

/// One schedule, with what it has done.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
/// pond.schedule("charge", hourly).await?;
/// clock.advance(Duration::from_secs(3600));
/// # drain(&pond).await;
///
/// let charge = pond.schedules().get("charge")?;
/// assert_eq!((charge.runs, charge.last), (1, Some(clock.wall())));
/// assert_eq!(charge.next, Some(clock.wall() + Duration::from_secs(3600)));
/// assert_eq!(pond.job(charge.last_job.unwrap())?.kind, "charge");
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Its times, as text: `0 3 * * * (Europe/Berlin)`, or `every 30s`.
    pub when: String,
    /// What happens to missed runs.
    pub misfire: Misfire,
    /// What happens to a run while the job of the previous run has not ended.
    pub overlap: Overlap,
    /// By how much a run can be later than its time.
    #[serde(serialize_with = "in_seconds")]
    pub jitter: Duration,
    /// No run has a time before this one.
    pub starts_at: Option<Timestamp>,
    /// No run has a time after this one.
    pub ends_at: Option<Timestamp>,
    /// After this many runs no run follows.
    pub at_most: Option<u64>,
    /// The queue of its jobs.
    pub queue: String,
    /// The kind of its jobs.
    pub kind: String,
    /// The payload of its jobs; as it is stored if the [payload codec](crate::PayloadCodec) cannot read it.
    pub payload: Payload,
    /// Whether it is paused.
    pub paused: bool,
    /// Why its next run waits although it is due, if it does: usually because its queue is full.
    pub held: Option<String>,
    /// How many runs it has made. Runs that were left out do not count, nor those by [`Schedules::run_now`].
    pub runs: u64,
    /// The time of its latest run.
    pub last: Option<Timestamp>,
    /// The time of its next run, without jitter; `None` if it is paused or has ended.
    pub next: Option<Timestamp>,
    /// The latest job that it has enqueued, also by [`Schedules::run_now`]. That job need not exist any more.
    pub last_job: Option<JobId>,
    /// When it was stored under this name.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub changed_at: Timestamp,
}

/// Stores a schedule, or changes the one of this name.
pub(crate) fn store(engine: &Arc<Engine>, name: &str, schedule: Schedule) -> Commit<Scheduled> {
    let prepare = |queue: &str, job: NewJob| -> Result<Prepared, Error> { engine.prepare(queue, job) };
    let definition = define(name, schedule, prepare);
    let (engine, name) = (engine.clone(), name.to_owned());
    Commit::new(async move {
        let definition = definition?;
        let bytes = definition.job.record.len();
        let coder = engine.coder().clone();
        engine.change_with(bytes, move |batch| batch.schedule(&name, &definition, &coder)).await
    })
}

impl Schedules {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// How many schedules there are. A file has 100,000 at most.
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert_eq!(pond.schedules().count()?, 0);
    /// # Ok(()) });
    /// ```
    pub fn count(&self) -> Result<u64, Error> {
        Ok(self.engine.reader()?.schedules_len()?)
    }

    /// The schedules after the name `after` (the empty text for all), in the order of their names, up to `limit` (at most
    /// 1,000). A page ends early with the schedule with which it reaches 8 MiB: only an empty page means that there are no
    /// more.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// Storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// for name in ["c", "a", "b"] {
    ///     let daily = Every::new(Duration::from_secs(24 * 3600));
    ///     pond.schedule(name, Schedule::new(daily, "billing", Charge { order: 7 })).await?;
    /// }
    /// let names: Vec<_> = pond.schedules().list("a", 100)?.into_iter().map(|schedule| schedule.name).collect();
    /// assert_eq!(names, ["b", "c"]);
    /// # Ok(()) });
    /// ```
    pub fn list(&self, after: &str, limit: usize) -> Result<Vec<ScheduleInfo>, Error> {
        let limit = limit.clamp(1, SCHEDULES_PER_PAGE_MAX);
        let (found, unread) = self.engine.reader()?.schedules(after, limit, BYTES_PER_PAGE)?;
        if !unread.is_empty() {
            self.engine.quarantine(unread.into_iter().map(Damage::Schedule).collect(), || {});
        }
        Ok(found.into_iter().map(|schedule| self.describe(schedule)).collect())
    }

    /// The schedule of this name.
    ///
    /// It reads the file on the caller's thread: in an async task call it in [`read`](crate::Millpond::read).
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("charge", hourly).await?;
    /// assert_eq!(pond.schedules().get("charge")?.when, "every 3600s");
    /// assert!(matches!(pond.schedules().get("refund"), Err(Error::NoSuchSchedule { .. })));
    /// # Ok(()) });
    /// ```
    pub fn get(&self, name: &str) -> Result<ScheduleInfo, Error> {
        Ok(self.describe(self.find(name)?))
    }

    fn find(&self, name: &str) -> Result<StoredSchedule, Error> {
        check_schedule_name(name)?;
        self.engine.reader()?.schedule(name)?.ok_or_else(|| Error::NoSuchSchedule { name: name.to_owned() })
    }

    /// The next times of a schedule by the wall clock, without jitter: up to `count` (at most 1,000). Of a paused schedule
    /// these are the times that it would have if it were resumed now.
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`]; [`Error::InvalidConfig`] for a cron expression that this build cannot read; storage
    /// errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let workdays = Cron::parse("30 9 * * MON-FRI")?;
    /// pond.schedule("charge", Schedule::new(workdays, "billing", Charge { order: 7 })).await?;
    /// let next: Vec<_> = pond.schedules().next("charge", 3)?.iter().map(Timestamp::to_string).collect();
    /// // 2026-01-01 is a Thursday.
    /// assert_eq!(next, ["2026-01-01T09:30:00.000Z", "2026-01-02T09:30:00.000Z", "2026-01-05T09:30:00.000Z"]);
    /// # Ok(()) });
    /// ```
    pub fn next(&self, name: &str, count: usize) -> Result<Vec<Timestamp>, Error> {
        let row = self.find(name)?.row;
        let times = row.times().map_err(|reason| Error::config("when", reason))?;
        Ok(row.coming(&times, self.engine.now(), count.min(TIMES_MAX)))
    }

    /// Pauses a schedule: the times that pass until it is resumed do not run, and are not missed. Jobs that it has
    /// enqueued are not affected. Returns false if it was paused already.
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`].
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("charge", hourly).await?;
    /// assert!(pond.schedules().pause("charge").await?);
    /// clock.advance(Duration::from_secs(10 * 3600 + 60));
    /// # drain(&pond).await;
    /// assert!(pond.schedules().resume("charge").await?);
    ///
    /// let charge = pond.schedules().get("charge")?;
    /// assert_eq!((charge.runs, charge.next), (0, Some(clock.wall() + Duration::from_secs(3540))));
    /// # Ok(()) });
    /// ```
    pub fn pause(&self, name: &str) -> Commit<bool> {
        self.set_paused(name, true)
    }

    /// Resumes a schedule. Returns false if it was not paused.
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`]; [`Error::InvalidConfig`] for a cron expression that this build cannot read.
    pub fn resume(&self, name: &str) -> Commit<bool> {
        self.set_paused(name, false)
    }

    fn set_paused(&self, name: &str, paused: bool) -> Commit<bool> {
        let name = name.to_owned();
        self.engine.change(move |batch| batch.pause_schedule(&name, paused))
    }

    /// Changes a part of a schedule: its times, its policies, its end, or the payload of its job. All else stays, such as the
    /// queue, the options of its job, its count of runs, and whether it is paused. To replace the whole, use
    /// [`Millpond::schedule`](crate::Millpond::schedule).
    ///
    /// As with that call, no time runs twice, and a run that is due and not enqueued yet is enqueued with the new payload. An
    /// application that stores its own definition at each start replaces what was changed here.
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`]; [`Error::InvalidConfig`] for a schedule that cannot work, and for a payload of another kind
    /// or with options; [`Error::PayloadTooLarge`], [`Error::Unencodable`]; storage errors.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).priority(Priority::LAST).tag("nightly");
    /// pond.schedule("charge", Schedule::new(Every::new(Duration::from_secs(3600)), "billing", job)).await?;
    ///
    /// let patch = SchedulePatch::new().when(Every::new(Duration::from_secs(60))).payload(Charge { order: 8 });
    /// pond.schedules().update("charge", patch).await?;
    ///
    /// assert_eq!(pond.schedules().get("charge")?.when, "every 60s");
    /// let run = pond.job(pond.schedules().run_now("charge").await?)?;
    /// assert_eq!((run.payload.decode::<Charge>()?.order, run.priority), (8, Priority::LAST));
    /// assert_eq!(run.tags, ["nightly"]);
    /// # Ok(()) });
    /// ```
    pub fn update(&self, name: &str, patch: SchedulePatch) -> Commit<()> {
        let (schedules, name) = (self.clone(), name.to_owned());
        Commit::new(async move {
            let engine = &schedules.engine;
            let patch = patch.stored(|payload| {
                let job = schedules.find(&name)?.row.definition.job;
                let payload = engine.prepare_payload(&job.queue, &job.kind, payload)?;
                Ok((job.kind, payload))
            })?;
            let bytes = patch.payload.as_ref().map_or(0, |(_, payload)| payload.bytes.len());
            let coder = engine.coder().clone();
            engine.change_with(bytes, move |batch| batch.update_schedule(&name, &patch, &coder)).await
        })
    }

    /// Enqueues the job of a schedule now, beside its runs, also if it is paused or has ended. Its next time does not
    /// change. The run after it finds this job as the previous run: see [`Overlap`].
    ///
    /// # Errors
    /// [`Error::NoSuchSchedule`]; [`Error::QueueFull`].
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("charge", hourly).await?;
    /// let id = pond.schedules().run_now("charge").await?;
    /// assert_eq!(pond.job(id)?.state, State::Pending);
    /// # Ok(()) });
    /// ```
    pub fn run_now(&self, name: &str) -> Commit<JobId> {
        let name = name.to_owned();
        self.engine.change(move |batch| batch.run_schedule_now(&name))
    }

    /// Removes a schedule. Jobs that it has enqueued are not affected. Returns false if there is no schedule of this name.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("charge", hourly).await?;
    /// assert!(pond.schedules().remove("charge").await?);
    /// assert!(!pond.schedules().remove("charge").await?);
    /// # Ok(()) });
    /// ```
    pub fn remove(&self, name: &str) -> Commit<bool> {
        let name = name.to_owned();
        self.engine.change(move |batch| batch.remove_schedule(&name))
    }

    fn describe(&self, schedule: StoredSchedule) -> ScheduleInfo {
        let now = self.engine.now();
        let StoredSchedule { name, row, record } = schedule;
        let next = row.progress.next.map(|next| row.shown(next, now));
        let (plan, job, progress) = (row.definition.plan, row.definition.job, row.progress);
        ScheduleInfo {
            name,
            when: plan.recurs.to_string(),
            misfire: plan.misfire,
            overlap: plan.overlap,
            jitter: plan.jitter,
            starts_at: plan.starts_at,
            ends_at: plan.ends_at,
            at_most: plan.at_most,
            queue: job.queue,
            kind: job.kind,
            payload: self.engine.coder().payload_or_stored(&record.payload).0.into_owned(),
            paused: progress.paused,
            held: progress.held,
            runs: progress.runs,
            last: progress.last,
            next,
            last_job: progress.jobs.first().map(|(_, id)| *id),
            created_at: progress.created_at,
            changed_at: progress.changed_at,
        }
    }
}

impl std::fmt::Debug for Schedules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schedules").finish_non_exhaustive()
    }
}
