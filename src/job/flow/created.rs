//! The answer of a call that makes a flow.

use crate::job::{EnqueueStatus, JobId};

/// The answer of [`Millpond::flow`](crate::Millpond::flow).
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let make = || pond.flow("order-7", |flow| drop(flow.job("billing", Charge { order: 7 })));
/// let (first, second) = (make().await?, make().await?);
/// assert_eq!((first.status, first.jobs.len()), (EnqueueStatus::Stored, 1));
/// assert_eq!((second.status, second.jobs.len()), (EnqueueStatus::Duplicate, 0));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowCreated {
    /// The ids of its jobs, with those of callbacks, in the order in which they were described. Empty for a duplicate.
    pub jobs: Vec<JobId>,
    /// `Stored`; or `Duplicate` if a flow of this name is there already, and nothing was stored.
    pub status: EnqueueStatus,
}

impl FlowCreated {
    pub(crate) fn stored(jobs: Vec<JobId>) -> Self {
        Self { jobs, status: EnqueueStatus::Stored }
    }

    pub(crate) fn duplicate() -> Self {
        Self { jobs: Vec::new(), status: EnqueueStatus::Duplicate }
    }
}
