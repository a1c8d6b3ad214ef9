//! What the writer asks dispatch before it changes a waiting job whose id it learns within a batch.

use super::change::Order;
use super::id::JobId;
use super::stream::StreamId;

/// Keeps waiting jobs from starting while the writer changes, replaces or removes them.
pub(crate) trait Withdraw {
    /// Keeps a job from starting until [`reinstate_all`](Self::reinstate_all), if it has not started yet. The answer does
    /// not change until then.
    fn withdraw(&self, id: JobId) -> Withdrawn;

    /// Keeps the entries of a stream below this offset from starting for good, because they are removed. Entries that a handler has
    /// are not removed: returns the offset below which none are with a handler.
    fn withdraw_entries(&self, stream: StreamId, below: u64) -> u64 {
        let _ = stream;
        below
    }

    /// Lets all jobs that were withdrawn start again. Called when dispatch knows what became of them.
    fn reinstate_all(&self);
}

/// Whether a waiting job could be kept from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withdrawn {
    /// It waits, and does not start.
    Waits,
    /// It was handed out: it runs, or its end is being written.
    /// It had this place in the order of dispatch.
    IsTaken(Order),
    /// There is no dispatch yet, because the file is being recovered. Nothing runs, but what dispatch will know of waiting
    /// jobs can have been read already.
    NoDispatch,
}

impl Withdrawn {
    /// From which place a job was handed out, if it was.
    pub fn taken_from(self) -> Option<Order> {
        match self {
            Self::IsTaken(order) => Some(order),
            Self::Waits | Self::NoDispatch => None,
        }
    }
}
