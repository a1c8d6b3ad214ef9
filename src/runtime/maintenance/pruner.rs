//! Removes ended jobs that the retention settings no longer keep.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::job::QueueId;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::time::Now;
use crate::writer::upkeep;

/// How often ended jobs are checked.
const EVERY: Duration = Duration::from_secs(30);

/// Removes ended jobs that retention no longer keeps, a slice of the queues in each commit.
#[derive(Default)]
pub(in crate::runtime) struct Pruner {
    next: Every,
    /// The writer has not reached the last of the queues yet.
    sweeping: Arc<AtomicBool>,
}

impl Pruner {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let is_needed = engine.store.catalog.next_with_ended(0).is_some();
        if is_needed && !self.sweeping.swap(true, Ordering::SeqCst) {
            sweep(engine, 0, self.sweeping.clone());
        }
        EVERY
    }
}

/// Prunes one slice of the queues, beginning with `from`, and then the next slice. So the writer never has more than one step of
/// this.
fn sweep(engine: &Arc<Engine>, from: QueueId, sweeping: Arc<AtomicBool>) {
    let write = move |batch: &mut Batch<'_>| upkeep::prune(batch, from);
    engine.internally_in_bulk(write, move |engine, result| match result {
        Ok(Some(next)) if !engine.is_stopping() => sweep(engine, next, sweeping),
        result => {
            sweeping.store(false, Ordering::SeqCst);
            if let Err(error) = result {
                tracing::warn!(%error, "ended jobs could not be pruned");
            }
        }
    });
}
