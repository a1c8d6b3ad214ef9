//! Removes the circuits of groups that have been half open for a day.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::time::Now;

/// How often the circuits are checked. They are kept for a day, so this need not be often.
const EVERY: Duration = Duration::from_secs(10 * 60);

/// Rows removed in one commit, at most. The rest follows the next time.
const ROWS_AT_ONCE: usize = 1_000;

/// Removes the circuits of groups that have been half open for a day without a probe. Otherwise a group that never has another
/// job would keep its row.
#[derive(Default)]
pub(in crate::runtime) struct CircuitSweeper {
    next: Every,
}

impl CircuitSweeper {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let unused = engine.scheduler().unused_circuits(ROWS_AT_ONCE, now);
        if !unused.is_empty() {
            engine.forget_circuits(unused);
        }
        EVERY
    }
}
