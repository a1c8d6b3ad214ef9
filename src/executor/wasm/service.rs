//! Counts how many attempts of a plugin break in a row, and suspends the plugin after too many.

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether a plugin is suspended. Too many broken attempts in a row suspend it, whatever their jobs are.
pub(super) struct Service {
    broken_in_a_row: AtomicU32,
    broken_max: u32,
    suspended: AtomicBool,
}

impl Service {
    pub fn new(broken_max: u32) -> Self {
        Self { broken_in_a_row: AtomicU32::new(0), broken_max, suspended: AtomicBool::new(false) }
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::SeqCst)
    }

    /// Records that an attempt ended with an answer of the guest.
    pub fn answered(&self) {
        // A read costs less than a write, which other processors' caches would have to learn of.
        if self.broken_in_a_row.load(Ordering::Relaxed) != 0 {
            self.broken_in_a_row.store(0, Ordering::SeqCst);
        }
    }

    /// Records that an attempt broke. If this suspends the plugin, returns how many attempts in a row have broken.
    pub fn broke(&self) -> Option<u32> {
        let broken = self.broken_in_a_row.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let suspends = broken >= self.broken_max && !self.suspended.swap(true, Ordering::SeqCst);
        suspends.then_some(broken)
    }

    /// Ends the suspension and starts counting anew.
    pub fn resume(&self) {
        self.broken_in_a_row.store(0, Ordering::SeqCst);
        self.suspended.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_broken_attempts_in_a_row_suspend_a_plugin_once_until_it_is_resumed() {
        let service = Service::new(3);
        assert_eq!((service.broke(), service.broke()), (None, None));
        service.answered();
        assert_eq!((service.broke(), service.broke(), service.broke()), (None, None, Some(3)));
        assert_eq!((service.broke(), service.is_suspended()), (None, true));
        service.resume();
        assert_eq!((service.broke(), service.is_suspended()), (None, false));
    }
}
