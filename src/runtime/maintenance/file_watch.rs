//! Notices that the file was deleted or replaced while nothing is written.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::time::Now;

/// How often this checks that the file still has its name. Each commit checks it too.
const EVERY: Duration = Duration::from_secs(10);

/// Notices that the file was deleted or replaced while nothing is written. Then it asks for a commit: the commit fails, and
/// the queue is degraded.
#[derive(Default)]
pub(in crate::runtime) struct FileWatch {
    next: Every,
}

impl FileWatch {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        if engine.store.is_there().is_err() {
            let write = |batch: &mut Batch<'_>| {
                batch.touch();
                Ok(())
            };
            engine.internally(write, |_, _| {});
        }
        EVERY
    }
}
