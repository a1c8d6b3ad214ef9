//! A chore that may block: it runs now and then on a thread of its own, and never twice at the same time.

use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread;
use crate::time::Now;

/// What is the same at each run of a chore.
pub(super) struct Chore {
    pub every: Duration,
    /// The name of its thread.
    pub thread: &'static str,
    /// What is not done if no thread can be started.
    pub undone: &'static str,
}

/// When a chore is due, and whether it runs at this moment.
#[derive(Default)]
pub(super) struct OwnThread {
    next: Every,
    is_busy: Arc<AtomicBool>,
}

impl OwnThread {
    /// Starts a thread that does the `work`, if the chore is due and does not run. Returns how long until it is due again.
    pub fn run_once(&mut self, chore: &Chore, now: Now, work: impl FnOnce() + Send + 'static) -> Duration {
        if let Some(wait) = self.next.wait(chore.every, now) {
            return wait;
        }
        if self.is_busy.swap(true, Ordering::SeqCst) {
            return chore.every;
        }
        let is_busy = self.is_busy.clone();
        let run = move || {
            work();
            is_busy.store(false, Ordering::SeqCst);
        };
        if let Err(error) = thread::Builder::new().name(chore.thread.into()).spawn(run) {
            self.is_busy.store(false, Ordering::SeqCst);
            tracing::warn!(%error, "{}: no thread could be started", chore.undone);
        }
        chore.every
    }
}
