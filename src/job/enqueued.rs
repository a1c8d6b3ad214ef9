//! The answer of an enqueue.

use std::fmt;

use super::id::JobId;

/// The answer of an enqueue: the job's id, and whether the call stored the job.
///
/// It is accepted wherever a [`JobId`] is, compares with one, and is displayed as the id. Answers are ordered by their ids.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let charge = || NewJob::json("charge", &7).unique_key("order-7");
/// let first = pond.enqueue("billing", charge()).await?;
/// let second = pond.enqueue("billing", charge()).await?;
///
/// assert_eq!(first.status, EnqueueStatus::Stored);
/// assert_eq!((second.id, second.status), (first.id, EnqueueStatus::Duplicate));
/// assert_eq!(pond.job(second)?.state, State::Pending);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Enqueued {
    /// The id of the new job, or of the job that was there already.
    pub id: JobId,
    /// What the call did.
    pub status: EnqueueStatus,
}

/// What an enqueue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EnqueueStatus {
    /// The job was stored.
    Stored,
    /// Nothing was stored, because another job holds the same [unique key](crate::NewJob::unique_key), or because the same
    /// call was made before ([idempotency key](crate::NewJob::idempotency_key)). The id is that of the other job.
    Duplicate,
    /// The job has taken the place of a waiting job with the same [unique key](crate::NewJob::unique), whose id it has.
    Replaced,
}

impl Enqueued {
    pub(crate) const fn stored(id: JobId) -> Self {
        Self { id, status: EnqueueStatus::Stored }
    }

    pub(crate) const fn duplicate_of(id: JobId) -> Self {
        Self { id, status: EnqueueStatus::Duplicate }
    }

    pub(crate) const fn replaced(id: JobId) -> Self {
        Self { id, status: EnqueueStatus::Replaced }
    }

    /// Whether the call stored a new job.
    ///
    /// ```
    /// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
    /// assert!(pond.enqueue("billing", Charge { order: 7 }).await?.is_stored());
    /// # Ok(()) });
    /// ```
    pub const fn is_stored(self) -> bool {
        matches!(self.status, EnqueueStatus::Stored)
    }
}

impl fmt::Display for Enqueued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

impl From<Enqueued> for JobId {
    fn from(enqueued: Enqueued) -> Self {
        enqueued.id
    }
}

impl From<&Enqueued> for JobId {
    fn from(enqueued: &Enqueued) -> Self {
        enqueued.id
    }
}

impl PartialEq<JobId> for Enqueued {
    fn eq(&self, id: &JobId) -> bool {
        self.id == *id
    }
}

impl PartialEq<Enqueued> for JobId {
    fn eq(&self, enqueued: &Enqueued) -> bool {
        *self == enqueued.id
    }
}
