//! The answer of a cancel.

use super::state::State;

/// What a [cancel](crate::Millpond::cancel) has done.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// assert_eq!(pond.cancel(id, "the order was withdrawn").await?, CancelOutcome::Cancelled);
/// assert_eq!(pond.cancel(id, "again").await?, CancelOutcome::AlreadyEnded(State::Cancelled));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancelOutcome {
    /// The job waited, and has ended as cancelled.
    Cancelled,
    /// The job runs. The request is durable: the job completes if its handler still returns a result, and otherwise ends as
    /// cancelled. It does not run again, also if the process dies meanwhile.
    Requested,
    /// The job had ended before, in this state. Nothing was changed.
    AlreadyEnded(State),
}

impl CancelOutcome {
    /// Whether the call has ended the job, or has asked its handler to stop.
    pub const fn has_changed(self) -> bool {
        !matches!(self, Self::AlreadyEnded(_))
    }
}
