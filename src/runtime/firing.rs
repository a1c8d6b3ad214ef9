//! Has the writer enqueue the jobs of schedules when they are due.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use crate::error::Error;
use crate::storage::Batch;
use crate::time::Now;
use crate::writer::schedules;

impl Engine {
    /// Has the writer fire the schedules that are due. Returns how long until the next one is due.
    pub(super) fn fire_due(self: &Arc<Self>, now: Now) -> Duration {
        if !self.schedule_times.is_due(now) {
            return self.schedule_times.wait(now);
        }
        if let Some(set_back_after) = self.schedule_times.ask() {
            let write = move |batch: &mut Batch<'_>| schedules::fire(batch, set_back_after.as_deref());
            self.internally_in_bulk(write, |engine, result: Result<Option<String>, Error>| {
                let left = match result {
                    Ok(left) => left,
                    Err(error) => {
                        engine.could_not_fire(&error);
                        None
                    }
                };
                engine.schedule_times.answered(left);
                engine.wake_dispatcher();
            });
        }
        Duration::MAX
    }

    fn could_not_fire(&self, error: &Error) {
        if !error.is_of_the_writer() {
            tracing::warn!(%error, "schedules that are due could not be fired");
            self.schedule_times.failed(self.now());
        }
    }
}
