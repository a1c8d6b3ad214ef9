//! A schedule as callers describe it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cron")]
use super::cron::Cron;
use super::new_job::NewJob;
use super::schedule_policy::{Misfire, Overlap};
use super::schedule_row::{Plan, Recurrence};
use crate::error::Error;
use crate::time::Timestamp;

/// Longest name of a schedule, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// The shortest interval. Each run costs a commit, and cron expressions have whole seconds too.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The longest jitter. A run that is later than this is not the run of its time any more.
const JITTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The most missed runs that are made up at a time. Each of them is a job.
const MADE_UP_MAX: u32 = 1_000;

/// A schedule: it enqueues a job again and again, at the times of a [`Cron`](crate::Cron) expression or at every interval.
///
/// It is stored in the file under a name by [`Millpond::schedule`](crate::Millpond::schedule). Each run is one commit, in
/// which the job is enqueued and the next time is set. So no run is lost and no run is made twice, whatever dies when.
///
/// # Times
///
/// - A [`Cron`](crate::Cron) expression is about the times that clocks show in its time zone. What happens where clocks are
///   set forward or back is said there.
/// - [`Every`] is an interval, which does not depend on how clocks are set.
/// - Times that pass while the file is closed are missed; [`Misfire`] says what becomes of them.
/// - If the wall clock is set forward, the times in between are missed in the same way: even ten years cause one run by
///   default. If it is set back by more than an hour, the schedules by the wall clock continue from the new time, and
///   times that the clock shows a second time run a second time. If it is set back by less, no time runs twice.
///
/// # Full queues
///
/// If the queue is full when a run is due, the run waits for room, and is tried again every five seconds. It is not lost:
/// [`ScheduleInfo::held`](crate::ScheduleInfo::held) and [`Event::ScheduleHeld`](crate::Event::ScheduleHeld) tell it.
///
/// ```
/// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
/// # #[derive(Serialize, Deserialize)] struct Report {}
/// # impl Kind for Report { const KIND: &'static str = "report"; }
/// let nightly = Cron::parse("0 3 * * *")?.zone("Europe/Berlin")?;
/// pond.schedule("nightly-report", Schedule::new(nightly, "reports", Report {})).await?;
///
/// let next = pond.schedules().get("nightly-report")?.next;
/// assert_eq!(next.map(|next| next.to_string()).as_deref(), Some("2026-01-01T02:00:00.000Z"));
/// # Ok(()) });
/// ```
#[derive(Debug)]
#[must_use = "a schedule does nothing until it is given to `Millpond::schedule`"]
pub struct Schedule {
    plan: Plan,
    queue: String,
    job: NewJob,
}

/// The times of a [`Schedule`]. A [`Cron`](crate::Cron) and an [`Every`] are accepted wherever a `When` is.
///
/// ```
/// # use doc_prelude::*;
/// let times: When = Every::new(Duration::from_secs(60)).into();
/// assert_eq!(times.to_string(), "every 60s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "cron", expect(clippy::large_enum_variant, reason = "it is made once for each schedule"))]
pub enum When {
    /// The times of a cron expression.
    #[cfg(feature = "cron")]
    Cron(Cron),
    /// An interval.
    Every(Every),
}

#[cfg(feature = "cron")]
impl From<Cron> for When {
    fn from(cron: Cron) -> Self {
        Self::Cron(cron)
    }
}

impl From<Every> for When {
    fn from(every: Every) -> Self {
        Self::Every(every)
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "cron")]
            Self::Cron(cron) => cron.fmt(f),
            Self::Every(every) => every.fmt(f),
        }
    }
}

impl From<When> for Recurrence {
    fn from(when: When) -> Self {
        match when {
            #[cfg(feature = "cron")]
            When::Cron(cron) => {
                Self::Cron { expression: cron.expression().to_owned(), zone: cron.zone_name().to_owned() }
            }
            When::Every(Every { interval, aligned: true }) => Self::Aligned(interval),
            When::Every(Every { interval, aligned: false }) => Self::Every(interval),
        }
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron { expression, zone } => write!(f, "{expression} ({zone})"),
            Self::Every(interval) => Every { interval: *interval, aligned: false }.fmt(f),
            Self::Aligned(interval) => Every { interval: *interval, aligned: true }.fmt(f),
        }
    }
}

/// A time at every interval.
///
/// By default, intervals are measured from when the schedule was stored: its first run is one interval later. The measure
/// is the time that passes, so setting the wall clock back changes nothing; setting it forward ends the present interval.
/// [`aligned`](Self::aligned) intervals are times of the wall clock.
///
/// ```
/// # use doc_prelude::*;
/// let often = Every::new(Duration::from_secs(15 * 60));
/// assert_eq!(often.to_string(), "every 900s");
/// assert_eq!(often.aligned().to_string(), "every 900s, aligned");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Every {
    interval: Duration,
    aligned: bool,
}

impl Every {
    /// Every `interval`. It is counted in whole milliseconds; less than one second is refused when the schedule is stored.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, aligned: false }
    }

    /// The times are the multiples of the interval since 1970-01-01 00:00 UTC, by the wall clock: every 15 minutes means at
    /// :00, :15, :30 and :45.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// clock.advance(Duration::from_secs(100));
    /// let quarters = Every::new(Duration::from_secs(900)).aligned();
    /// pond.schedule("sweep", Schedule::new(quarters, "billing", Charge { order: 7 })).await?;
    /// assert_eq!(pond.schedules().next("sweep", 1)?[0].to_string(), "2026-01-01T00:15:00.000Z");
    /// # Ok(()) });
    /// ```
    pub const fn aligned(mut self) -> Self {
        self.aligned = true;
        self
    }

    /// The interval.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether the times are aligned to the wall clock.
    pub const fn is_aligned(&self) -> bool {
        self.aligned
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "every {:?}{}", self.interval, if self.aligned { ", aligned" } else { "" })
    }
}

/// What [`Millpond::schedule`](crate::Millpond::schedule) has done.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let hourly = || Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
/// assert_eq!(pond.schedule("charge", hourly()).await?, Scheduled::Created);
/// assert_eq!(pond.schedule("charge", hourly()).await?, Scheduled::Unchanged);
/// assert_eq!(pond.schedule("charge", hourly().at_most(12)).await?, Scheduled::Changed);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheduled {
    /// There was no schedule of this name.
    Created,
    /// The schedule had another definition.
    Changed,
    /// The schedule had this definition already: nothing was written.
    Unchanged,
}

impl Schedule {
    /// A schedule that enqueues `job` into `queue` at the times of `when`.
    ///
    /// The job is a typed payload or a [`NewJob`]. All of its options apply to each run, except those that are about one
    /// point in time (`delay`, `run_at`, `expires_at`) and unique keys: [`overlap`](Self::overlap) says what happens while
    /// the previous run has not ended. [`expires_in`](NewJob::expires_in) counts from the enqueue of each run.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let job = NewJob::new(Charge { order: 7 }).priority(Priority::LAST).max_attempts(3);
    /// let schedule = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", job);
    /// ```
    pub fn new(when: impl Into<When>, queue: impl Into<String>, job: impl Into<NewJob>) -> Self {
        let plan = Plan {
            recurs: when.into().into(),
            misfire: Misfire::default(),
            overlap: Overlap::default(),
            jitter: Duration::ZERO,
            starts_at: None,
            ends_at: None,
            at_most: None,
        };
        Self { plan, queue: queue.into(), job: job.into() }
    }

    /// What happens to runs that are missed. The default is [`Misfire::Once`].
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.plan.misfire = misfire;
        self
    }

    /// What happens to a run while the job of the previous run has not ended. The default is [`Overlap::Skip`].
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.plan.overlap = overlap;
        self
    }

    /// Each run is later than its time by a part of this duration, so that many schedules of the same time do not run at
    /// once. The part depends on the schedule's name and on the run's time only. The default is zero, the maximum 24 hours.
    /// It should be shorter than the time between two runs.
    ///
    /// ```
    /// # use doc_prelude::*;
    /// let schedule = Schedule::new(Every::new(Duration::from_secs(3600)).aligned(), "billing", Charge { order: 7 })
    ///     .jitter(Duration::from_secs(300));
    /// ```
    pub fn jitter(mut self, most: Duration) -> Self {
        self.plan.jitter = most;
        self
    }

    /// No run has a time before this one. An interval that is not aligned has its first run at this time.
    pub fn starts_at(mut self, start: impl Into<Timestamp>) -> Self {
        self.plan.starts_at = Some(start.into());
        self
    }

    /// No run has a time after this one.
    pub fn ends_at(mut self, end: impl Into<Timestamp>) -> Self {
        self.plan.ends_at = Some(end.into());
        self
    }

    /// After this many runs no run follows. Runs that were left out do not count, nor those by
    /// [`run_now`](crate::Schedules::run_now).
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("charge", hourly.overlap(Overlap::Allow).at_most(2)).await?;
    /// for _ in 0..5 {
    ///     clock.advance(Duration::from_secs(3600));
    ///     drain(&pond).await;
    /// }
    /// let charge = pond.schedules().get("charge")?;
    /// assert_eq!((charge.runs, charge.next), (2, None));
    /// # Ok(()) });
    /// ```
    pub fn at_most(mut self, runs: u64) -> Self {
        self.plan.at_most = Some(runs);
        self
    }

    /// Checks all that can be checked without the store. Returns the plan, the queue, the job, and how long after its
    /// enqueue each job expires.
    pub(crate) fn check(self) -> Result<(Plan, String, NewJob, Option<Duration>), Error> {
        let Self { plan, queue, job } = self;
        plan.check()?;
        let (job, expires_in) = job.for_a_schedule()?;
        Ok((plan, queue, job, expires_in))
    }
}

impl Plan {
    /// Checks that a schedule can have this plan.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Recurrence::Every(interval) | Recurrence::Aligned(interval) = &self.recurs
            && *interval < INTERVAL_MIN
        {
            return Err(Error::config("every", format!("{interval:?} is less than {INTERVAL_MIN:?}, the least")));
        }
        if self.jitter > JITTER_MAX {
            return Err(Error::config("jitter", format!("{:?} is more than 24 hours, the most", self.jitter)));
        }
        match self.misfire {
            Misfire::All { at_most } if !(1..=MADE_UP_MAX).contains(&at_most) => {
                return Err(Error::config("misfire", format!("`at_most` is {at_most}: use 1 to {MADE_UP_MAX}")));
            }
            Misfire::All { .. } if self.overlap == Overlap::Skip => {
                let reason = "of the runs that `Misfire::All` makes up, `Overlap::Skip` would leave out all but the first: \
                              use `Overlap::Allow` or `Overlap::Queue`";
                return Err(Error::config("overlap", reason.into()));
            }
            _ => {}
        }
        match (self.starts_at, self.ends_at) {
            (Some(start), Some(end)) if end < start => {
                let reason = format!("{end} is before `starts_at`, {start}: there would be no run");
                Err(Error::config("ends_at", reason))
            }
            _ => Ok(()),
        }
    }
}

/// Checks the name of a schedule, which may be any text of 1 to 200 bytes.
pub(crate) fn check_schedule_name(name: &str) -> Result<(), Error> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        len => Err(Error::InvalidKey { what: "schedule name", len, max: NAME_BYTES_MAX }),
    }
}
