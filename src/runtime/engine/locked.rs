//! The scheduler under its lock.

use std::ops::{Deref, DerefMut};

use crate::scheduler::Scheduler;
use crate::sync::{MustNotWait, MutexGuard};

/// The scheduler under its lock. A thread that holds this must not wait for the queue, because the writer needs the lock.
pub(crate) struct Locked<'a> {
    pub(super) scheduler: MutexGuard<'a, Scheduler>,
    pub(super) _must_not_wait: MustNotWait,
}

impl Deref for Locked<'_> {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Scheduler {
        &mut self.scheduler
    }
}
