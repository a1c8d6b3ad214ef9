use std::sync::Arc;
use std::time::Duration;

use crate::runtime::engine::Engine;
use crate::time::Now;

/// How often handlers that do not stop are counted.
const EVERY: Duration = Duration::from_secs(10);

/// Says so when blocking handlers have outlived their timeouts: they keep their slots, and nobody
/// but the application can free them.
#[derive(Default)]
pub(in crate::runtime) struct Watchdog {
    next: Option<Duration>,
    said: usize,
}

impl Watchdog {
    pub fn turn(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        let next = *self.next.get_or_insert(now.mono.saturating_add(EVERY));
        if now.mono < next {
            return next - now.mono;
        }
        self.next = Some(now.mono.saturating_add(EVERY));
        let stuck = engine.executor.runs.stuck();
        if stuck > self.said {
            tracing::warn!(stuck, "blocking handlers have outlived their timeouts and keep their slots");
        }
        self.said = stuck;
        EVERY
    }
}
