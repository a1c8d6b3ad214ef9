//! What a caller changes of a schedule.

use std::time::Duration;

use super::new_job::NewJob;
use super::schedule::When;
use super::schedule_policy::{Misfire, Overlap};
use super::schedule_row::{Plan, Recurrence};
use super::stored_payload::StoredPayload;
use crate::error::Error;
use crate::time::Timestamp;

/// The changes that [`Schedules::update`](crate::Schedules::update) makes to a schedule. What is not set stays as it is.
///
/// ```
/// # use doc_prelude::*;
/// let later = SchedulePatch::new().when(Every::new(Duration::from_secs(3600))).jitter(Duration::from_secs(60));
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct SchedulePatch {
    plan: PlanPatch,
    payload: Option<NewJob>,
}

/// The changes to when a schedule fires.
#[derive(Debug, Default)]
pub(crate) struct PlanPatch {
    recurs: Option<Recurrence>,
    misfire: Option<Misfire>,
    overlap: Option<Overlap>,
    jitter: Option<Duration>,
    starts_at: Option<Option<Timestamp>>,
    ends_at: Option<Option<Timestamp>>,
    at_most: Option<Option<u64>>,
}

/// The changes with the payload as it is stored.
#[derive(Debug)]
pub(crate) struct DefinitionPatch {
    pub plan: PlanPatch,
    /// The payload, and the kind that it was made for.
    pub payload: Option<(String, StoredPayload)>,
}

impl SchedulePatch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Other times. If they are an interval that is not aligned, it is counted from when the latest time has passed.
    pub fn when(mut self, when: impl Into<When>) -> Self {
        self.plan.recurs = Some(when.into().into());
        self
    }

    /// Another treatment of runs that are [missed](crate::Schedule::misfire).
    pub fn misfire(mut self, misfire: Misfire) -> Self {
        self.plan.misfire = Some(misfire);
        self
    }

    /// Another treatment of runs that [meet the one before them](crate::Schedule::overlap).
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.plan.overlap = Some(overlap);
        self
    }

    /// Another [jitter](crate::Schedule::jitter): 24 hours at most.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.plan.jitter = Some(most);
        self
    }

    /// Another [start](crate::Schedule::starts_at), or `None` for none. An interval that is not aligned is counted from it.
    ///
    /// ```
    /// # doc_prelude::with_clock(async |pond, clock| { use doc_prelude::*;
    /// let hourly = Schedule::new(Every::new(Duration::from_secs(3600)), "billing", Charge { order: 7 });
    /// pond.schedule("hourly-charge", hourly).await?;
    /// let start = clock.wall() + Duration::from_secs(7 * 24 * 3600);
    /// pond.schedules().update("hourly-charge", SchedulePatch::new().starts_at(start)).await?;
    /// assert_eq!(pond.schedules().get("hourly-charge")?.next, Some(start));
    /// # Ok(()) });
    /// ```
    pub fn starts_at(mut self, start: impl Into<Option<Timestamp>>) -> Self {
        self.plan.starts_at = Some(start.into());
        self
    }

    /// Another [end](crate::Schedule::ends_at), or `None` for no end.
    pub fn ends_at(mut self, end: impl Into<Option<Timestamp>>) -> Self {
        self.plan.ends_at = Some(end.into());
        self
    }

    /// Another [number of runs](crate::Schedule::at_most), those that were made already among them, or `None` for any number.
    pub fn at_most(mut self, runs: impl Into<Option<u64>>) -> Self {
        self.plan.at_most = Some(runs.into());
        self
    }

    /// Another payload of the same kind: a typed payload, or a [`NewJob`] without options. The options of the schedule's
    /// job stay: its priority, group, tags, headers and others. With options, or of another kind, it is refused.
    pub fn payload(mut self, payload: impl Into<NewJob>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// The changes with the payload as it is stored. `replace` checks and encodes it, and says for which kind.
    pub(crate) fn stored(
        self,
        replace: impl FnOnce(NewJob) -> Result<(String, StoredPayload), Error>,
    ) -> Result<DefinitionPatch, Error> {
        let Self { plan, payload } = self;
        Ok(DefinitionPatch { plan, payload: payload.map(replace).transpose()? })
    }
}

impl PlanPatch {
    /// The plan with these changes.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if a schedule cannot have such a plan.
    pub fn apply(&self, plan: &Plan) -> Result<Plan, Error> {
        let plan = Plan {
            recurs: self.recurs.clone().unwrap_or_else(|| plan.recurs.clone()),
            misfire: self.misfire.unwrap_or(plan.misfire),
            overlap: self.overlap.unwrap_or(plan.overlap),
            jitter: self.jitter.unwrap_or(plan.jitter),
            starts_at: self.starts_at.unwrap_or(plan.starts_at),
            ends_at: self.ends_at.unwrap_or(plan.ends_at),
            at_most: self.at_most.unwrap_or(plan.at_most),
        };
        plan.check()?;
        Ok(plan)
    }
}
