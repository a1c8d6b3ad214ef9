//! A schedule as it is kept: what was asked for, and how far it has come.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::record::QueueId;
use super::schedule_policy::{Misfire, Overlap};
use crate::time::{Due, TimeLine, Timestamp};

/// A schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScheduleRow {
    pub definition: Definition,
    pub progress: Progress,
}

/// What a caller has asked for. A call with the same definition changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub plan: Plan,
    pub job: JobTemplate,
}

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub recurs: Recurrence,
    pub misfire: Misfire,
    pub overlap: Overlap,
    pub jitter: Duration,
    pub starts_at: Option<Timestamp>,
    pub ends_at: Option<Timestamp>,
    pub at_most: Option<u64>,
}

/// The times of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Recurrence {
    Cron {
        expression: String,
        zone: String,
    },
    /// Measured on the engine's line.
    Every(Duration),
    /// At the multiples of this since the epoch, by the wall clock.
    Aligned(Duration),
}

/// The job of each run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobTemplate {
    pub queue: String,
    pub kind: String,
    /// How long after its enqueue each job expires.
    pub expires_in: Option<Duration>,
    /// An encoded record, without a kind's number and without times.
    pub record: Bytes,
}

/// How far a schedule has come. All times but those that say otherwise are on its line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The next run's nominal time. `None` if no run follows, or it is paused.
    pub next: Option<Timestamp>,
    /// When it is looked at next: the next time with its jitter, or a later time if the run is held up.
    pub due: Option<Timestamp>,
    /// Times up to this one do not run any more.
    pub after: Timestamp,
    /// Intervals are counted from here.
    pub anchor: Timestamp,
    /// When `next` was computed, by the wall clock.
    pub computed_at: Timestamp,
    pub paused: bool,
    /// Why the next run waits, if it is due and does.
    pub held: Option<String>,
    /// Runs by the clock. Those that were asked for by hand do not count.
    pub runs: u64,
    /// The time of the latest run, by the wall clock.
    pub last: Option<Timestamp>,
    /// The jobs of the latest runs, the latest one first: two at most.
    pub jobs: Vec<(QueueId, JobId)>,
    /// By the wall clock.
    pub created_at: Timestamp,
    /// By the wall clock.
    pub changed_at: Timestamp,
}

/// How many of the latest jobs a schedule remembers: one that runs, and one that waits for it.
const JOBS_KEPT: usize = 2;

impl Recurrence {
    pub fn line(&self) -> TimeLine {
        match self {
            Self::Every(_) => TimeLine::Engine,
            Self::Cron { .. } | Self::Aligned(_) => TimeLine::Wall,
        }
    }
}

impl ScheduleRow {
    pub fn line(&self) -> TimeLine {
        self.definition.plan.recurs.line()
    }

    /// When it must be looked at.
    pub fn due(&self) -> Option<Due> {
        self.progress.due.map(|at| Due { line: self.line(), at })
    }
}

impl Progress {
    /// Notes the job of a run.
    pub fn add_job(&mut self, queue: QueueId, id: JobId) {
        self.jobs.insert(0, (queue, id));
        self.jobs.truncate(JOBS_KEPT);
    }
}
