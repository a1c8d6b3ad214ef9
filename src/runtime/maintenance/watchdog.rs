//! Warns of blocking handlers that have outlived their timeouts.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::time::Now;

/// How often handlers that do not stop are counted.
const EVERY: Duration = Duration::from_secs(10);

/// Warns when blocking handlers have outlived their timeouts. They keep their slots, and only the application can free
/// those.
#[derive(Default)]
pub(in crate::runtime) struct Watchdog {
    next: Every,
    warned_of: usize,
}

impl Watchdog {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let stuck = engine.executor.running.stuck();
        if stuck > self.warned_of {
            tracing::warn!(stuck, "blocking handlers have outlived their timeouts and keep their slots");
        }
        self.warned_of = stuck;
        EVERY
    }
}
