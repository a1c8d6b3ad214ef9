//! Warns of blocking handlers that have outlived their timeouts.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::time::Now;

/// How often handlers that do not stop are counted.
const EVERY: Duration = Duration::from_secs(10);

/// Says so when blocking handlers have outlived their timeouts: they keep their slots, and nobody
/// but the application can free them.
#[derive(Default)]
pub(in crate::runtime) struct Watchdog {
    next: Every,
    said: usize,
}

impl Watchdog {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let stuck = engine.executor.running.stuck();
        if stuck > self.said {
            tracing::warn!(stuck, "blocking handlers have outlived their timeouts and keep their slots");
        }
        self.said = stuck;
        EVERY
    }
}
