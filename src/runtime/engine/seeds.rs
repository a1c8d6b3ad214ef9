//! The engine's random numbers. An engine that was given a seed makes the same ones in every run.

use std::hash::{BuildHasher, RandomState};

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

    /// 128 random bits. Without a seed they are those of the operating system that the standard library's hash maps get: a generator
    /// of ours has only 64 bits of them.
    pub fn id(&self) -> u128 {
        if self.was_given {
            return self.rng().u128(..);
        }
        let half = |n: u8| u128::from(RandomState::new().hash_one(n));
        half(0) << 64 | half(1)
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
