//! Jobs that a step withdraws from the scheduler while it runs, because it learns their ids only then.
//!
//! A step calls [`Withdrawals::withdraw`] before it changes or removes a job that waits. Nothing starts the job until the
//! effects of the commit were applied: then the writer's loop reinstates all of them, before it answers callers. That is also
//! done if the commit fails or the step is undone. A batch that is made again withdraws its jobs again.

use std::sync::{Arc, OnceLock, Weak};

use super::engine::Engine;
use crate::job::{JobId, Order};
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

    /// Keeps a waiting job from being started. Returns the position from which it was handed out, if a handler has it.
    pub fn withdraw(&self, id: JobId) -> Option<Order> {
        let engine = self.engine()?;
        let mut scheduler = engine.scheduler();
        if scheduler.withdraw(id) {
            self.ids.lock().unwrap_or_else(|e| e.into_inner()).push(id);
            return None;
        }
        scheduler.order_of_handed_out(id)
    }

    /// Lets all withdrawn jobs start again, if they still wait.
    pub fn reinstate(&self) {
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
