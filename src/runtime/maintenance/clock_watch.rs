use std::sync::Arc;
use std::time::Duration;

use crate::runtime::engine::Engine;
use crate::storage::Batch;

/// Has the file know that the wall clock was set, though nothing else is written: a process that dies later would not
/// know how much time has passed since the last commit.
#[derive(Default)]
pub(in crate::runtime) struct ClockWatch {
    /// How often it was set when a commit was asked for last.
    asked: u64,
    /// And when the last one was made.
    saved: u64,
}

impl ClockWatch {
    pub fn turn(&mut self, engine: &Arc<Engine>) -> Duration {
        let jumps = engine.time.jumps();
        if jumps != self.asked {
            self.asked = jumps;
            let write = |batch: &mut Batch<'_>| {
                batch.touch();
                Ok(())
            };
            engine.internally(write, move |engine, result| {
                let watch = &mut engine.upkeep().clock_watch;
                match result {
                    Ok(()) => watch.saved = jumps,
                    // The disk has failed, or the file is closed: again at a later turn.
                    Err(_) => watch.asked = watch.saved,
                }
                engine.moved.notify_waiters();
            });
        }
        Duration::MAX
    }

    /// Whether the file knows all of it.
    pub fn is_done(&self, engine: &Engine) -> bool {
        self.saved == engine.time.jumps()
    }
}
