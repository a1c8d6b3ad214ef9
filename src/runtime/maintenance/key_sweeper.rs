//! Removes keys whose time has passed: the unique keys of ended jobs, and the keys that are held for a time only.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::time::Now;
use crate::writer::upkeep::{self, KEYS_SWEPT_AT_ONCE};

/// How often unique keys are checked. A key whose time has passed can be used again even before it is removed.
const EVERY: Duration = Duration::from_secs(30);

/// Removes keys whose time has passed, in small batches.
#[derive(Default)]
pub(in crate::runtime) struct KeySweeper {
    next: Every,
}

impl KeySweeper {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        match engine
            .store
            .reader()
            .and_then(|reader| Ok(reader.has_passed_keys(now)? || reader.has_passed_timed_keys(now)?))
        {
            Ok(true) => sweep(engine),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "unique keys could not be looked at"),
        }
        EVERY
    }
}

/// Removes one batch of keys, and the next one after it as long as the batches are full.
fn sweep(engine: &Arc<Engine>) {
    engine.internally(upkeep::sweep_keys, move |engine, result| match result {
        Ok(keys) => {
            if keys >= KEYS_SWEPT_AT_ONCE && !engine.is_stopping() {
                sweep(engine);
            }
        }
        Err(error) => tracing::warn!(%error, "unique keys could not be swept"),
    });
}
