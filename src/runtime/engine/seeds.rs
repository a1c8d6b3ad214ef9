//! The engine's random numbers. An engine that was given a seed makes the same ones in every run.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Where the engine's random numbers come from.
pub(in crate::runtime) struct Seeds {
    next: AtomicU64,
    was_given: bool,
}

impl Seeds {
    /// Begins at `seed`, or anywhere.
    pub fn new(seed: Option<u64>) -> Self {
        Self { next: AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..))), was_given: seed.is_some() }
    }

    /// The next random number, from 0 up to 1.
    pub fn random(&self) -> f64 {
        self.rng().f64()
    }

    /// A generator with the next seed.
    pub fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for something that makes random numbers of its own, if this engine was given one.
    #[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "only the host of plugins asks for one"))]
    pub fn derived(&self) -> Option<u64> {
        self.was_given.then(|| self.rng().u64(..))
    }
}
