//! What keeps the queue from doing its work.

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{RwLock, RwLockReadGuard};

/// What keeps the queue from doing its work.
#[derive(Default)]
pub(in crate::runtime) struct Health {
    faults: RwLock<Faults>,
    given_up: AtomicBool,
}

#[derive(Debug, Default)]
struct Faults {
    /// Why the file cannot be written for now: calls that write fail, and nothing starts.
    unwritable: Option<String>,
    /// Why async handlers cannot run any more: calls still work.
    runtime_ended: Option<&'static str>,
}

impl Health {
    fn faults(&self) -> RwLockReadGuard<'_, Faults> {
        self.faults.read().unwrap_or_else(|e| e.into_inner())
    }

    /// What an operator needs to know, the worst first.
    pub fn degraded(&self) -> Option<String> {
        let faults = self.faults();
        faults.unwritable.clone().or_else(|| faults.runtime_ended.map(str::to_owned))
    }

    /// Why the file cannot be written for now, if it cannot.
    pub fn unwritable(&self) -> Option<String> {
        self.faults().unwritable.clone()
    }

    /// Notes why the file cannot be written, or that it can be written again. It cannot after the engine has given up.
    pub fn set_unwritable(&self, reason: Option<String>) {
        if reason.is_none() && self.has_given_up() {
            return;
        }
        self.faults.write().unwrap_or_else(|e| e.into_inner()).unwritable = reason;
    }

    /// Why async handlers cannot run any more, if they cannot.
    pub fn runtime_ended(&self) -> Option<&'static str> {
        self.faults().runtime_ended
    }

    /// Notes why async handlers cannot run any more. Returns false if that is known already.
    pub fn set_runtime_ended(&self, reason: &'static str) -> bool {
        self.faults.write().unwrap_or_else(|e| e.into_inner()).runtime_ended.replace(reason).is_none()
    }

    /// Whether nothing in memory can be trusted any more, so that nothing is written until the file is opened again.
    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    pub fn give_up(&self, reason: String) {
        self.set_unwritable(Some(reason));
        self.given_up.store(true, Ordering::SeqCst);
    }
}
