//! When the next schedule is due, in memory.

use std::time::Duration;

use super::expiries::AFTER_A_FAILURE;
use crate::job::is_set_back;
use crate::storage::NotedSchedules;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Now;

/// When the next schedule is due. The dispatcher asks this each time it runs; a file without schedules costs nothing else.
#[derive(Default)]
pub(super) struct ScheduleTimes(Mutex<State>);

#[derive(Default)]
struct State {
    known: NotedSchedules,
    /// The writer was asked to fire what is due, and has not answered yet.
    asked: bool,
    /// After a failure: not before this time of the monotonic clock.
    not_before: Duration,
    /// The wall clock was set back, and the schedules up to this name have their new times.
    set_back_after: Option<String>,
}

impl ScheduleTimes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Takes note of what a commit says; called in the order of commits. Returns true if something is due sooner than was
    /// known: then the dispatcher has to wait for it.
    pub fn learn(&self, noted: NotedSchedules) -> bool {
        if noted.is_empty() {
            return false;
        }
        let mut state = self.state();
        let before = state.known;
        state.known = before.and_then(noted);
        let is_sooner = |now: Option<_>, before: Option<_>| now.is_some_and(|now| before.is_none_or(|at| now < at));
        is_sooner(state.known.wall, before.wall) || is_sooner(state.known.engine, before.engine)
    }

    /// Forgets what is known, because nothing in memory can be trusted: the file is read again.
    pub fn forget(&self) {
        self.learn(NotedSchedules::UNKNOWN);
    }

    pub fn is_due(&self, now: Now) -> bool {
        self.state().is_due(now)
    }

    /// How long until something is due.
    pub fn wait(&self, now: Now) -> Duration {
        let state = self.state();
        let wait = state.known.dues().map(|due| due.wait(now)).min().unwrap_or(Duration::MAX);
        wait.max(state.not_before.saturating_sub(now.mono))
    }

    /// Notes that the writer is asked. Returns nothing if it was asked already and has not answered. Otherwise returns the
    /// name after which times are computed again, if the wall clock was set back.
    pub fn ask(&self) -> Option<Option<String>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.asked, true) { None } else { Some(state.set_back_after.clone()) }
    }

    /// Notes that the writer has answered, and where it continues.
    pub fn answered(&self, set_back_after: Option<String>) {
        let mut state = self.state();
        (state.asked, state.set_back_after) = (false, set_back_after);
    }

    /// Notes that schedules could not be fired at `now`: they are due again [`AFTER_A_FAILURE`].
    pub fn failed(&self, now: Now) {
        self.state().not_before = now.mono.saturating_add(AFTER_A_FAILURE);
    }
}

impl State {
    fn is_due(&self, now: Now) -> bool {
        let is_set_back = self.known.computed_at.is_some_and(|at| is_set_back(at, now));
        let is_due = is_set_back || self.known.dues().any(|due| due.is_due(now));
        is_due && now.mono >= self.not_before
    }
}
