//! Removes the stored rows of token buckets that are full again.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::error::Error;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::time::Now;
use crate::writer::upkeep;

/// How often the rates' buckets are checked.
const EVERY: Duration = Duration::from_secs(30);

/// Buckets that are checked at once under the scheduler's lock.
const CHECKED_AT_ONCE: usize = 4_096;

/// Rows removed in one commit, at most.
const ROWS_AT_ONCE: usize = 1_000;

/// Removes the rows of buckets that are full again, in small batches. Otherwise each group that ever had a rate would keep its
/// row. A bucket that is on hold or lacks a token keeps its row.
#[derive(Default)]
pub(in crate::runtime) struct BucketSweeper {
    next: Every,
}

impl BucketSweeper {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let buckets = engine.scheduler().buckets();
        sweep(engine, buckets);
        EVERY
    }
}

/// Checks `left` buckets. After each batch of rows it goes on, until all rows that were found are removed.
fn sweep(engine: &Arc<Engine>, mut left: usize) {
    while left > 0 {
        let checked = left.min(CHECKED_AT_ONCE);
        left -= checked;
        let full: Arc<[_]> = engine.scheduler().buckets_to_forget(checked, ROWS_AT_ONCE, engine.now()).into();
        if full.is_empty() {
            continue;
        }
        // A full batch may have left rows of the buckets that were checked.
        let left = if full.len() == ROWS_AT_ONCE { left.max(1) } else { left };
        let (engine_of_step, keys) = (engine.clone(), full.clone());
        let write = move |batch: &mut Batch<'_>| -> Result<(), Error> {
            for key in &*keys {
                if engine_of_step.scheduler().forget_bucket(key, engine_of_step.now()) {
                    upkeep::save_bucket(batch, key, None)?;
                }
            }
            Ok(())
        };
        engine.internally(write, move |engine, result| match result {
            Ok(()) if !engine.is_stopping() => sweep(engine, left),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the rows of full buckets could not be removed");
                engine.scheduler().buckets_not_forgotten(&full);
            }
        });
        return;
    }
}
