//! Removes the stored rows of token buckets that are full again.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::error::Error;
use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::time::Now;
use crate::writer::upkeep;

/// How often rates' buckets are looked at.
const EVERY: Duration = Duration::from_secs(30);

/// Buckets looked at under the scheduler's lock at once.
const LOOKS_AT_ONCE: usize = 4_096;

/// Rows removed in one commit, at most.
const ROWS_AT_ONCE: usize = 1_000;

/// Removes the rows of buckets that are full again, in small batches: each group that ever had a rate would
/// keep its row otherwise. A bucket that still says something, a hold or a token that is missing, keeps it.
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

/// Looks at so many buckets, and goes on after each batch of rows until all that were found are removed.
fn sweep(engine: &Arc<Engine>, mut looks_left: usize) {
    while looks_left > 0 {
        let looks = looks_left.min(LOOKS_AT_ONCE);
        looks_left -= looks;
        let full: Arc<[_]> = engine.scheduler().buckets_to_forget(looks, ROWS_AT_ONCE, engine.now()).into();
        if full.is_empty() {
            continue;
        }
        // There may be more of those that were found already.
        let looks_left = if full.len() == ROWS_AT_ONCE { looks_left.max(1) } else { looks_left };
        let (looker, keys) = (engine.clone(), full.clone());
        let write = move |batch: &mut Batch<'_>| -> Result<(), Error> {
            for key in &*keys {
                if looker.scheduler().forget_bucket(key, looker.now()) {
                    upkeep::save_bucket(batch, key, None)?;
                }
            }
            Ok(())
        };
        engine.internally(write, move |engine, result| match result {
            Ok(()) if !engine.is_stopping() => sweep(engine, looks_left),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "the rows of full buckets could not be removed");
                engine.scheduler().buckets_not_forgotten(&full);
            }
        });
        return;
    }
}
