//! When a flow needs the writer, in memory.

use std::time::Duration;

use super::expiries::AFTER_A_FAILURE;
use crate::storage::NotedFlows;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// When a flow needs the writer: a deadline passes, a flow is kept no longer, or dependents are to be told in another commit. The
/// dispatcher asks this each time it runs; a file without flows costs nothing else.
#[derive(Default)]
pub(super) struct FlowTimes(Mutex<State>);

#[derive(Default)]
struct State {
    known: NotedFlows,
    /// The writer was asked, and has not answered yet.
    asked: bool,
    /// After a failure: not before this time of the monotonic clock.
    not_before: Duration,
}

impl FlowTimes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes note of what a commit says; called in the order of commits. Returns true if something may be due sooner than was
    /// known: then the dispatcher has to look.
    pub fn learn(&self, noted: NotedFlows) -> bool {
        if noted.is_empty() {
            return false;
        }
        let mut state = self.state();
        state.known = state.known.and_then(noted);
        true
    }

    /// Forgets what is known, because nothing in memory can be trusted: the file is read again.
    pub fn forget(&self) {
        self.learn(NotedFlows::UNKNOWN);
    }

    pub fn is_due(&self, now: Now) -> bool {
        let state = self.state();
        state.known.dues().any(|due| due.is_due(now)) && now.mono >= state.not_before
    }

    /// How long until something is due.
    pub fn wait(&self, now: Now) -> Duration {
        let state = self.state();
        let wait = state.known.dues().map(|due| due.wait(now)).min().unwrap_or(Duration::MAX);
        wait.max(state.not_before.saturating_sub(now.mono))
    }

    /// Notes that the writer is asked. Returns false if it was asked already and has not answered.
    pub fn ask(&self) -> bool {
        !std::mem::replace(&mut self.state().asked, true)
    }

    pub fn answered(&self) {
        self.state().asked = false;
    }

    /// Notes that the work failed at `now`: it is due again [`AFTER_A_FAILURE`].
    pub fn failed(&self, now: Now) {
        self.state().not_before = now.mono.saturating_add(AFTER_A_FAILURE);
    }
}
