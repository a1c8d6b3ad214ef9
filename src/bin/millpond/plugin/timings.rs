//! Statistics of how long attempts took.

use std::time::Duration;

/// The minimum, the median and the 99th percentile.
#[derive(Debug, PartialEq)]
pub struct Timings {
    pub min: Duration,
    pub p50: Duration,
    pub p99: Duration,
}

impl Timings {
    /// `None` if `took` is empty.
    pub fn of(mut took: Vec<Duration>) -> Option<Self> {
        took.sort_unstable();
        // The nearest-rank method: the smallest time that at least `percent` percent of the attempts did not exceed.
        let rank = |percent: usize| took[(took.len() * percent).div_ceil(100).saturating_sub(1)];
        let min = *took.first()?;
        Some(Self { min, p50: rank(50), p99: rank(99) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_computed_by_the_nearest_rank_method() {
        let millis = |times: &[u64]| Timings::of(times.iter().copied().map(Duration::from_millis).collect());
        let timings = |min, p50, p99| {
            let [min, p50, p99] = [min, p50, p99].map(Duration::from_millis);
            Some(Timings { min, p50, p99 })
        };
        assert_eq!(millis(&[]), None);
        assert_eq!(millis(&[7]), timings(7, 7, 7));
        assert_eq!(millis(&[4, 1, 3, 2]), timings(1, 2, 4));
        assert_eq!(millis(&(1..=200).rev().collect::<Vec<_>>()), timings(1, 100, 198));
    }
}
