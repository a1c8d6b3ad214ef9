//! Jobs that a step withdraws from the scheduler while it runs, because it learns their ids only then.
//!
//! A step calls [`Withdraw::withdraw`] before it changes or removes a job that waits. Nothing starts the job until the
//! effects of the commit were applied: then the writer's loop reinstates all of them, before it answers callers. That is also
//! done if the commit fails or the step is undone. A batch that is made again withdraws its jobs again.

use std::sync::{Arc, OnceLock, Weak};

use super::engine::Engine;
use crate::job::{JobId, StreamId, Withdraw, Withdrawn};
use crate::sync::Mutex;

/// The jobs that the steps of the present round have withdrawn.
#[derive(Default)]
pub(super) struct Withdrawals {
    /// Empty while the file is opened: no handler has a job then.
    engine: OnceLock<Weak<Engine>>,
    ids: Mutex<Vec<JobId>>,
}

impl Withdrawals {
    /// Sets the engine whose jobs are withdrawn, once it exists.
    pub fn set_engine(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get()?.upgrade()
    }
}

impl Withdraw for Withdrawals {
    fn withdraw(&self, id: JobId) -> Withdrawn {
        let Some(engine) = self.engine() else { return Withdrawn::NoDispatch };
        let mut scheduler = engine.scheduler();
        if let Some(order) = scheduler.order_of_handed_out(id) {
            return Withdrawn::IsTaken(order);
        }
        scheduler.withdraw(id);
        self.ids.lock().unwrap_or_else(|e| e.into_inner()).push(id);
        Withdrawn::Waits
    }

    fn withdraw_entries(&self, stream: StreamId, below: u64) -> u64 {
        self.engine().map_or(below, |engine| engine.scheduler().withdraw_entries(stream, below))
    }

    fn reinstate_all(&self) {
        let ids = std::mem::take(&mut *self.ids.lock().unwrap_or_else(|e| e.into_inner()));
        if ids.is_empty() {
            return;
        }
        let Some(engine) = self.engine() else { return };
        let mut scheduler = engine.scheduler();
        ids.iter().for_each(|id| scheduler.reinstate(*id));
        drop(scheduler);
        engine.wake_dispatcher();
    }
}
