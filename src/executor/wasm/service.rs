//! Counts how attempts of a plugin end, and suspends the plugin after too many that broke in a row.

use std::time::Duration;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Whether a plugin is suspended. Too many broken attempts in a row suspend it, whatever their jobs are.
pub(super) struct Service {
    broken_in_a_row: AtomicU32,
    broken_max: u32,
    suspended: AtomicBool,
    attempts: AtomicU64,
    broken: AtomicU64,
    traps: AtomicU64,
    suspensions: AtomicU64,
    computed_nanos: AtomicU64,
    memory_max: AtomicU64,
}

/// What has become of a plugin's attempts since its worker was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServiceCounts {
    pub attempts_total: u64,
    pub broken_total: u64,
    pub traps_total: u64,
    pub broken_in_a_row: u32,
    pub suspensions_total: u64,
    /// How long the threads of attempts were busy with them.
    pub computed: Duration,
    /// The most memory that an attempt had, in bytes.
    pub memory_max: u64,
}

impl Service {
    pub fn new(broken_max: u32) -> Self {
        Self {
            broken_in_a_row: AtomicU32::new(0),
            broken_max,
            suspended: AtomicBool::new(false),
            attempts: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            suspensions: AtomicU64::new(0),
            computed_nanos: AtomicU64::new(0),
            memory_max: AtomicU64::new(0),
        }
    }

    /// Records that a thread was busy with an attempt for this long.
    pub fn computed(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.computed_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Records that an attempt has so much memory, in bytes.
    pub fn has_memory(&self, bytes: usize) {
        self.memory_max.fetch_max(bytes as u64, Ordering::Relaxed);
    }

    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Ordering::SeqCst)
    }

    /// Records that an attempt begins.
    pub fn began(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that an attempt ended with an answer of the guest.
    pub fn answered(&self) {
        // A read costs less than a write, which other processors' caches would have to learn of.
        if self.broken_in_a_row.load(Ordering::Relaxed) != 0 {
            self.broken_in_a_row.store(0, Ordering::SeqCst);
        }
    }

    /// Records that an attempt broke. If this suspends the plugin, returns how many attempts in a row have broken.
    pub fn broke(&self, by_trap: bool) -> Option<u32> {
        self.broken.fetch_add(1, Ordering::Relaxed);
        self.traps.fetch_add(u64::from(by_trap), Ordering::Relaxed);
        let broken = self.broken_in_a_row.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let suspends = broken >= self.broken_max && !self.suspended.swap(true, Ordering::SeqCst);
        self.suspensions.fetch_add(u64::from(suspends), Ordering::Relaxed);
        suspends.then_some(broken)
    }

    /// Ends the suspension and starts counting anew.
    pub fn resume(&self) {
        self.broken_in_a_row.store(0, Ordering::SeqCst);
        self.suspended.store(false, Ordering::SeqCst);
    }

    pub fn counts(&self) -> ServiceCounts {
        ServiceCounts {
            attempts_total: self.attempts.load(Ordering::Relaxed),
            broken_total: self.broken.load(Ordering::Relaxed),
            traps_total: self.traps.load(Ordering::Relaxed),
            broken_in_a_row: self.broken_in_a_row.load(Ordering::SeqCst),
            suspensions_total: self.suspensions.load(Ordering::Relaxed),
            computed: Duration::from_nanos(self.computed_nanos.load(Ordering::Relaxed)),
            memory_max: self.memory_max.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_broken_attempts_in_a_row_suspend_a_plugin_once_until_it_is_resumed() {
        let service = Service::new(3);
        let broke = || service.broke(true);
        assert_eq!((broke(), broke()), (None, None));
        service.answered();
        assert_eq!((broke(), broke(), broke()), (None, None, Some(3)));
        assert_eq!((broke(), service.is_suspended()), (None, true));
        service.resume();
        assert_eq!((broke(), service.is_suspended()), (None, false));
    }

    #[test]
    fn broken_attempts_and_traps_among_them_are_counted_however_often_it_is_resumed() {
        let service = Service::new(2);
        for by_trap in [true, false, true] {
            service.began();
            service.broke(by_trap);
        }
        service.resume();
        service.began();
        service.answered();
        [3, 5, 4].into_iter().for_each(|amount| {
            service.has_memory(amount);
            service.computed(Duration::from_millis(amount as u64));
        });
        let counts = ServiceCounts {
            attempts_total: 4,
            broken_total: 3,
            traps_total: 2,
            broken_in_a_row: 0,
            suspensions_total: 1,
            computed: Duration::from_millis(12),
            memory_max: 5,
        };
        assert_eq!(service.counts(), counts);
    }
}
