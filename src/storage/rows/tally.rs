//! How many jobs a queue has in each state, as its row in the file counts them.

use serde::{Deserialize, Serialize};

use crate::job::State;

/// A queue's counts, stored with each commit. [`Counts`](crate::Counts) says what each one means, except that `pending`
/// includes the running jobs here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub pending: u64,
    pub scheduled: u64,
    pub retrying: u64,
    pub completed: u64,
    pub dead: u64,
    pub cancelled: u64,
    pub bytes: u64,
    pub enqueued_total: u64,
    pub completed_total: u64,
    pub failures_total: u64,
    pub dead_total: u64,
    pub cancelled_total: u64,
    /// Follows the rest of the row, if it is not 0.
    #[serde(skip)]
    pub blocked: u64,
    /// Follows the rest of the row, if it is not 0. Jobs that are counted as cancelled, too.
    #[serde(skip)]
    pub dropped_total: u64,
}

impl Tally {
    /// How many jobs are in this state.
    pub(crate) fn count_mut(&mut self, state: State) -> &mut u64 {
        match state {
            State::Pending | State::Running => &mut self.pending,
            State::Blocked => &mut self.blocked,
            State::Scheduled => &mut self.scheduled,
            State::Retrying => &mut self.retrying,
            State::Completed => &mut self.completed,
            State::Dead => &mut self.dead,
            State::Cancelled => &mut self.cancelled,
        }
    }

    pub(crate) fn unfinished(&self) -> u64 {
        self.pending + self.scheduled + self.retrying + self.blocked
    }
}
