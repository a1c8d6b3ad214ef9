//! What a reader met and could not read: the writer looks at it again, and sets it aside.

use std::sync::Arc;

use super::engine::Engine;
use crate::error::Error;
use crate::storage::{Batch, Damage};
use crate::writer::upkeep;

impl Engine {
    /// Sets these rows aside, unless a handler has their jobs: then memory knows better than the file.
    /// `then` comes after the commit, or instead of it.
    pub fn set_aside(self: &Arc<Self>, damaged: Vec<Damage>, then: impl FnOnce() + Send + 'static) {
        let looker = self.clone();
        let jobs: Vec<_> = damaged.iter().filter_map(job).collect();
        let write = move |batch: &mut Batch<'_>| {
            for damage in &damaged {
                if !looker.is_handed_out(damage) {
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

    /// Sees to it that a job is set aside whose record a caller could not read.
    pub fn note_damage<T>(self: &Arc<Self>, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::CorruptRecord { id, .. }) = &result {
            self.set_aside(vec![Damage::Job(*id)], || {});
        }
        result
    }

    /// Whether a handler has it. If not, the dispatcher keeps its hands off it from here on.
    fn is_handed_out(&self, damage: &Damage) -> bool {
        match *damage {
            Damage::Job(id) => !self.scheduler().withdraw(id),
            Damage::Head(queue, order) => self.scheduler().is_handed_out_at(queue, order),
            Damage::Group(..) => false,
        }
    }

    /// Less what a handler has: that is no longer to be read.
    pub(super) fn not_flying(&self, damaged: Vec<Damage>) -> Vec<Damage> {
        let scheduler = self.scheduler();
        let flies = |damage: &Damage| match *damage {
            Damage::Job(id) => scheduler.is_handed_out(id),
            Damage::Head(queue, order) => scheduler.is_handed_out_at(queue, order),
            Damage::Group(..) => false,
        };
        damaged.into_iter().filter(|damage| !flies(damage)).collect()
    }
}

fn job(damage: &Damage) -> Option<crate::job::JobId> {
    match damage {
        Damage::Job(id) => Some(*id),
        Damage::Head(..) | Damage::Group(..) => None,
    }
}
