//! How the first attempt of a job ended.

use std::time::Duration;

use millpond::{Event, JobId, JobInfo, State};

/// How a job's first attempt ended, as far as its event says.
#[derive(Default)]
pub struct Ended {
    pub completed: bool,
    /// How long the attempt took, if it completed the job.
    pub took: Option<Duration>,
    /// How long until the next attempt, if there is one.
    pub delay: Option<Duration>,
    /// Whether other jobs of its queue wait for this time as well.
    pub rate_limited: bool,
    /// The signal that it waits for.
    pub awaits: Option<String>,
}

impl Ended {
    /// What the event says, if it says that the job's first attempt has ended.
    pub fn of(event: &Event, job: JobId) -> Option<Self> {
        match event {
            Event::Completed { id, took, .. } if *id == job => {
                Some(Self { completed: true, took: Some(*took), ..Self::default() })
            }
            Event::Retrying { id, delay, .. } | Event::Snoozed { id, delay, .. } if *id == job => {
                Some(Self { delay: Some(*delay), ..Self::default() })
            }
            // It does not name the job, but there is only one that runs.
            Event::RateLimited { delay, .. } => {
                Some(Self { delay: Some(*delay), rate_limited: true, ..Self::default() })
            }
            Event::Dead { id, .. } | Event::Cancelled { id, .. } if *id == job => Some(Self::default()),
            _ => None,
        }
    }

    /// What the job's state says, if no event was heard.
    pub fn without_event(job: &JobInfo) -> Option<Self> {
        let is_open = matches!(job.state, State::Pending | State::Running);
        (!is_open).then(|| Self { completed: job.state == State::Completed, ..Self::default() })
    }
}
