//! Schedules.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Body, Time};

/// What happens to runs that could not be made at their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Misfire {
    /// They are left out.
    Skip,
    /// One run stands for all of them.
    #[default]
    Once,
    /// They are made up, but no more than the latest of them.
    All {
        /// How many, at most.
        at_most: u32,
    },
}

/// What happens to a run while the job of the run before has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overlap {
    /// It is enqueued.
    Allow,
    /// It is left out.
    #[default]
    Skip,
    /// It is enqueued, and waits for that job.
    Queue,
}

impl std::fmt::Display for Misfire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Skip => f.write_str("are left out"),
            Self::Once => f.write_str("one run stands for all"),
            Self::All { at_most } => write!(f, "are made up, {at_most} at most"),
        }
    }
}

impl std::fmt::Display for Overlap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Allow => "are enqueued",
            Self::Skip => "are left out",
            Self::Queue => "wait for the run before",
        })
    }
}

/// A schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Its times, as text: `0 3 * * * (Europe/Berlin)`, or `every 30s`.
    pub when: String,
    /// What happens to missed runs.
    pub misfire: Misfire,
    /// What happens while the job of the previous run has not ended.
    pub overlap: Overlap,
    /// By how much a run can be later than its time.
    pub jitter_seconds: f64,
    /// No run has a time before this one.
    pub starts_at: Option<Time>,
    /// No run has a time after this one.
    pub ends_at: Option<Time>,
    /// After this many runs no run follows.
    pub at_most: Option<u64>,
    /// The queue of its jobs.
    pub queue: String,
    /// The kind of its jobs.
    pub kind: String,
    /// The payload of its jobs.
    pub payload: Body,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Why its next run waits although it is due.
    pub held: Option<String>,
    /// How many runs it has made.
    pub runs: u64,
    /// The time of its latest run.
    pub last: Option<Time>,
    /// The time of its next run.
    pub next: Option<Time>,
    /// The times of the next runs. Only where one schedule is asked for.
    pub upcoming: Vec<Time>,
    /// The latest job that it has enqueued.
    pub last_job: Option<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it was changed.
    pub changed_at: Time,
}

/// Some schedules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SchedulePage {
    /// How many schedules there are.
    pub total: u64,
    /// The schedules, by name.
    pub schedules: Vec<Schedule>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}
