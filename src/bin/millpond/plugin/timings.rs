//! How long attempts took, told by their ranks.

use std::time::Duration;

/// The least, the median and the 99th of a hundred.
#[derive(Debug, PartialEq)]
pub struct Timings {
    pub min: Duration,
    pub p50: Duration,
    pub p99: Duration,
}

impl Timings {
    /// Nothing of nothing.
    pub fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        // The nearest rank: so many in a hundred took no longer.
        let rank = |percent: usize| took[(took.len() * percent).div_ceil(100).saturating_sub(1)];
        let min = *took.first()?;
        Some(Self { min, p50: rank(50), p99: rank(99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_are_the_nearest() {
        let millis = |times: &[u64]| Timings::of(times.iter().copied().map(Duration::from_millis).collect());
        let told = |min, p50, p99| {
            let [min, p50, p99] = [min, p50, p99].map(Duration::from_millis);
            Some(Timings { min, p50, p99 })
        };
        assert_eq!(millis(&[]), None);
        assert_eq!(millis(&[7]), told(7, 7, 7));
        assert_eq!(millis(&[4, 1, 3, 2]), told(1, 2, 4));
        assert_eq!(millis(&(1..=200).rev().collect::<Vec<_>>()), told(1, 100, 198));
    }
}
