//! What a caller changes of a job that waits.

use super::labels::check_tags;
use super::life::Patch;
use super::new_job::NewJob;
use super::priority::Priority;
use super::stored_payload::StoredPayload;
use crate::error::Error;
use crate::time::Timestamp;

/// The changes that [`update`](crate::Millpond::update) makes to a waiting job.
///
/// ```
/// use millpond::{JobPatch, Priority};
///
/// let urgent = JobPatch::new().priority(Priority::FIRST);
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct JobPatch {
    payload: Option<NewJob>,
    priority: Option<Priority>,
    run_at: Option<Timestamp>,
    tags: Option<Vec<String>>,
}

impl JobPatch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// The changes with the payload as it is stored. `replace` checks and encodes it.
    pub(crate) fn stored(self, replace: impl FnOnce(NewJob) -> Result<StoredPayload, Error>) -> Result<Patch, Error> {
        let Self { payload, priority, run_at, mut tags } = self;
        tags.as_mut().map(check_tags).transpose()?;
        Ok(Patch { payload: payload.map(replace).transpose()?, priority, run_at, tags })
    }

    /// Another payload of the same kind: a typed payload, or a [`NewJob`] without options. If it has options, such as a
    /// group, [`update`](crate::Millpond::update) returns
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig).
    pub fn payload(mut self, payload: impl Into<NewJob>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Another priority.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Other [tags](crate::NewJob::tag) in place of those that the job has. An empty list removes all tags. If they cannot be
    /// tags, [`update`](crate::Millpond::update) returns [`Error::InvalidTag`](crate::Error::InvalidTag) or
    /// [`Error::TooManyTags`](crate::Error::TooManyTags).
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// let id = pond.enqueue("billing", NewJob::new(Charge { order: 7 }).tag("new")).await?;
    /// pond.update(id, JobPatch::new().tags(["checked"])).await?;
    /// assert_eq!(pond.job(id)?.tags, ["checked"]);
    /// # Ok(()) });
    /// ```
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Another time to run. A time in the past means now.
    pub fn run_at(mut self, at: impl Into<Timestamp>) -> Self {
        self.run_at = Some(at.into());
        self
    }
}

/// Checks that `job` can replace the payload of a job of this kind.
///
/// # Errors
/// [`Error::InvalidConfig`] for another kind, or for options.
pub(crate) fn check_replacement(kind: &str, job: &NewJob) -> Result<(), Error> {
    if job.kind() != kind {
        let reason = format!("the job is of kind {kind:?}, the new payload of kind {:?}", job.kind());
        return Err(Error::config("payload", reason));
    }
    if let Some(option) = job.option_set() {
        let reason = format!("it has the option `{option}`, and only the payload is replaced: leave the option out");
        return Err(Error::config("payload", reason));
    }
    Ok(())
}
