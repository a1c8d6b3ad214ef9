//! Records in the file that the wall clock was set.

use std::sync::Arc;
use std::time::Duration;

use crate::runtime::engine::Engine;
use crate::storage::Batch;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Writes to the file that the wall clock was set, even if nothing else is written. Otherwise the next process could not tell
/// how much time has passed since the last commit.
#[derive(Default)]
pub(in crate::runtime) struct ClockWatch {
    /// Shared with the writer's step. The step's answer takes no lock, because it may come on the thread that asks: if the
    /// writer is gone, the step is dropped there.
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    /// How often the clock had been set when a commit was last asked for.
    asked: AtomicU64,
    /// How often the clock had been set as of the last such commit that was made.
    saved: AtomicU64,
}

impl ClockWatch {
    pub fn run_once(&mut self, engine: &Arc<Engine>) -> Duration {
        let jumps = engine.time.jumps();
        if self.noted.asked.swap(jumps, Ordering::SeqCst) != jumps {
            let write = |batch: &mut Batch<'_>| {
                batch.touch();
                Ok(())
            };
            let noted = self.noted.clone();
            engine.internally(write, move |_, result| match result {
                Ok(()) => noted.saved.store(jumps, Ordering::SeqCst),
                // The disk has failed, or the file is closed: try again the next time.
                Err(_) => noted.asked.store(noted.saved.load(Ordering::SeqCst), Ordering::SeqCst),
            });
        }
        Duration::MAX
    }

    /// Whether the file has every change of the clock.
    pub fn is_done(&self, engine: &Engine) -> bool {
        self.noted.saved.load(Ordering::SeqCst) == engine.time.jumps()
    }
}
