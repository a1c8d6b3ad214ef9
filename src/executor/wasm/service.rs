//! Counts how often in a row a plugin breaks, and suspends it after too many.

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether a plugin is suspended: too many broken attempts in a row, whatever their jobs, suspend it.
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

    /// An attempt ended as the guest asked.
    pub fn answered(&self) {
        // A read costs less than a write, which other processors' caches would have to learn of.
        if self.broken_in_a_row.load(Ordering::Relaxed) != 0 {
            self.broken_in_a_row.store(0, Ordering::SeqCst);
        }
    }

    /// An attempt broke. Returns after how many in a row, if that suspends the plugin now.
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
    fn so_many_in_a_row_suspend_it_once_until_it_is_resumed() {
        let service = Service::new(3);
        assert_eq!((service.broke(), service.broke()), (None, None));
        service.answered();
        assert_eq!((service.broke(), service.broke(), service.broke()), (None, None, Some(3)));
        assert_eq!((service.broke(), service.is_suspended()), (None, true));
        service.resume();
        assert_eq!((service.broke(), service.is_suspended()), (None, false));
    }
}
