use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::runtime::engine::Engine;
use crate::storage::{Batch, Expunged};
use crate::time::Now;
use crate::writer::upkeep;

/// How often ended jobs are looked at.
const EVERY: Duration = Duration::from_secs(30);

/// Removes ended jobs that retention no longer keeps, in small batches.
#[derive(Default)]
pub(in crate::runtime) struct Pruner {
    next: Every,
}

impl Pruner {
    pub fn turn(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        for queue in engine.store.catalog.queues_with_ended() {
            sweep(engine, queue);
        }
        EVERY
    }
}

/// One batch, and the next one after it as long as they come back full.
fn sweep(engine: &Arc<Engine>, queue: u32) {
    let write = move |batch: &mut Batch<'_>| upkeep::prune(batch, queue);
    engine.internally_in_bulk(write, move |engine, result| match result {
        Ok(Expunged { is_full, .. }) => {
            if is_full && !engine.is_stopping() {
                sweep(engine, queue);
            }
        }
        Err(error) => tracing::warn!(%error, "ended jobs could not be pruned"),
    });
}
