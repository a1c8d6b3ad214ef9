//! Finds out that the file was deleted although nothing is written.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::time::Now;

/// How often it is looked whether the file still has its name. Each commit looks too.
const EVERY: Duration = Duration::from_secs(10);

/// Finds out that the file was deleted though nothing is written: a commit is tried, which says so to
/// everybody.
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
