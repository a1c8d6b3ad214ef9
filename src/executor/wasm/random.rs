//! The random numbers of guests. They come from the operating system, because the contract promises numbers that are
//! fit for secrets. Only if the queue has a seed, for a repeatable test or simulation, they are derived from it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// The most random bytes that one call returns.
pub(super) const BYTES_MAX: u64 = 64 << 10;

/// The random numbers of all guests of one queue.
pub(super) struct Randoms {
    seeds: Option<AtomicU64>,
}

impl Randoms {
    pub fn new(seed: Option<u64>) -> Self {
        Self { seeds: seed.map(AtomicU64::new) }
    }

    /// The random numbers of the next attempt.
    pub fn next(&self) -> Random {
        match &self.seeds {
            None => Random::System,
            Some(seeds) => Random::Seeded(fastrand::Rng::with_seed(seeds.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

/// The random numbers of one attempt.
pub(super) enum Random {
    System,
    Seeded(fastrand::Rng),
}

#[derive(Debug, thiserror::Error)]
#[error("the operating system has no random numbers: {0}")]
pub(super) struct NoneThere(getrandom::Error);

impl Random {
    pub fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoneThere> {
        match self {
            Self::System => getrandom::fill(bytes).map_err(NoneThere),
            Self::Seeded(rng) => {
                rng.fill(bytes);
                Ok(())
            }
        }
    }

    pub fn number(&mut self) -> Result<u64, NoneThere> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_the_systems_without_a_seed_and_repeatable_with_one() {
        assert!(matches!(Randoms::new(None).next(), Random::System));
        let numbers = |seed| {
            let randoms = Randoms::new(seed);
            [randoms.next().number().unwrap(), randoms.next().number().unwrap()]
        };
        assert_eq!(numbers(Some(7)), numbers(Some(7)));
        let [one, other] = numbers(Some(7));
        assert_ne!(one, other);
        assert_ne!(numbers(None), numbers(None));
    }
}
