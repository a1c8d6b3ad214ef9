use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Whether a plugin is in service: too many broken attempts in a row, whatever their jobs, take it out.
pub(super) struct Service {
    broken_in_a_row: AtomicU32,
    broken_max: u32,
    quarantined: AtomicBool,
}

impl Service {
    pub fn new(broken_max: u32) -> Self {
        Self { broken_in_a_row: AtomicU32::new(0), broken_max, quarantined: AtomicBool::new(false) }
    }

    pub fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::SeqCst)
    }

    /// An attempt ended by the guest's own word.
    pub fn answered(&self) {
        // A look costs less than a write that every other thread has to hear of.
        if self.broken_in_a_row.load(Ordering::Relaxed) != 0 {
            self.broken_in_a_row.store(0, Ordering::SeqCst);
        }
    }

    /// An attempt broke. Returns after how many in a row, if that takes the plugin out of service now.
    pub fn broke(&self) -> Option<u32> {
        let broken = self.broken_in_a_row.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let out = broken >= self.broken_max && !self.quarantined.swap(true, Ordering::SeqCst);
        out.then_some(broken)
    }

    /// Back in service, with a clean record.
    pub fn restore(&self) {
        self.broken_in_a_row.store(0, Ordering::SeqCst);
        self.quarantined.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_row_take_it_out_once_until_it_is_restored() {
        let service = Service::new(3);
        assert_eq!((service.broke(), service.broke()), (None, None));
        service.answered();
        assert_eq!((service.broke(), service.broke(), service.broke()), (None, None, Some(3)));
        assert_eq!((service.broke(), service.is_quarantined()), (None, true));
        service.restore();
        assert_eq!((service.broke(), service.is_quarantined()), (None, false));
    }
}
