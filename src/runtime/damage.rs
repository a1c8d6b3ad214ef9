//! Rows that a reader could not read: the writer reads them again, and moves them to the quarantine.

use std::sync::Arc;

use super::engine::Engine;
use crate::error::Error;
use crate::storage::{Batch, Damage};
use crate::writer::upkeep;

impl Engine {
    /// Moves these rows to the quarantine, except those of jobs that are handed out: what memory has of these jobs is newer
    /// than their rows. `then` runs after the commit, or instead of it.
    pub fn quarantine(self: &Arc<Self>, damaged: Vec<Damage>, then: impl FnOnce() + Send + 'static) {
        let engine = self.clone();
        let jobs: Vec<_> = damaged.iter().filter_map(job).collect();
        let write = move |batch: &mut Batch<'_>| {
            for damage in &damaged {
                if !engine.withdraw_or_is_handed_out(damage) {
                    upkeep::quarantine(batch, damage)?;
                }
            }
            Ok(())
        };
        self.internally(write, move |engine, _: Result<(), Error>| {
            for id in jobs {
                engine.scheduler().reinstate(id);
            }
            then();
            engine.wake_dispatcher();
        });
    }

    /// Passes `result` on. If it says that a job's record could not be read, the job is moved to the quarantine.
    pub fn note_damage<T>(self: &Arc<Self>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::CorruptRecord { id, .. }) = &result {
            self.quarantine(vec![Damage::Job(*id)], || {});
        }
        result
    }

    /// Whether the job of these rows is handed out. A job that is not is withdrawn from dispatch by this call.
    fn withdraw_or_is_handed_out(&self, damage: &Damage) -> bool {
        match damage {
            Damage::Job(id) => !self.scheduler().withdraw(*id),
            Damage::Head(queue, order) => self.scheduler().is_handed_out_at(*queue, *order),
            Damage::Group(..) | Damage::Schedule(_) | Damage::Entry(..) => false,
        }
    }

    /// These rows, without those of jobs that are handed out, which are not read any more.
    pub(super) fn without_handed_out(&self, mut damaged: Vec<Damage>) -> Vec<Damage> {
        let scheduler = self.scheduler();
        damaged.retain(|damage| match damage {
            Damage::Job(id) => !scheduler.is_handed_out(*id),
            Damage::Head(queue, order) => !scheduler.is_handed_out_at(*queue, *order),
            Damage::Group(..) | Damage::Schedule(_) | Damage::Entry(..) => true,
        });
        damaged
    }
}

fn job(damage: &Damage) -> Option<crate::job::JobId> {
    match damage {
        Damage::Job(id) => Some(*id),
        Damage::Head(..) | Damage::Group(..) | Damage::Schedule(_) | Damage::Entry(..) => None,
    }
}
