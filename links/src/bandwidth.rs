//! How fast a link may send.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket of bytes. It lets a batch go as soon as those before it are paid for, so the long-term rate holds whatever the sizes
/// of batches are, and a batch that is larger than what comes in a second goes, too.
#[derive(Debug)]
pub(crate) struct Bandwidth {
    bytes_per_second: u64,
    /// When all that was sent is paid for.
    paid_at: Option<Instant>,
}

impl Bandwidth {
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_at: None }
    }

    /// The most bytes of a batch, unless one job alone has more: what is paid for within a second.
    pub fn batch_bytes(&self) -> usize {
        usize::try_from(self.bytes_per_second).unwrap_or(usize::MAX)
    }

    /// How long a batch has to wait now.
    pub fn wait(&self, now: Instant) -> Duration {
        self.paid_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// A batch of so many bytes is sent now. What was not used before is not saved up.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        let from = self.paid_at.map_or(now, |at| at.max(now));
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second.max(1));
        self.paid_at = from.checked_add(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn the_rate_holds_whatever_the_sizes_are() {
        let (start, mut bucket) = (Instant::now(), Bandwidth::new(1_000));
        let (mut now, mut sent) = (start, 0);
        for bytes in [1, 999, 10, 5_000, 300, 1_000, 1, 1, 2_000, 0, 700] {
            now += bucket.wait(now);
            bucket.sent(bytes, now);
            // What was sent before is paid for.
            assert!(now - start >= secs(f64::from(sent) / 1_000.0), "{sent} bytes in {:?}", now - start);
            sent += bytes as u32;
        }
        assert_eq!(now - start + bucket.wait(now), secs(f64::from(sent) / 1_000.0));
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let (start, mut bucket) = (Instant::now(), Bandwidth::new(1_000));
        assert_eq!(bucket.wait(start), Duration::ZERO);
        bucket.sent(1_000, start);
        assert_eq!(bucket.wait(start), secs(1.0));
        assert_eq!(bucket.wait(start + secs(0.25)), secs(0.75));
        let later = start + secs(60.0);
        assert_eq!(bucket.wait(later), Duration::ZERO);
        bucket.sent(1_000, later);
        assert_eq!(bucket.wait(later), secs(1.0));
    }

    #[test]
    fn a_rate_that_is_tiny_or_huge_is_no_mistake() {
        let now = Instant::now();
        for rate in [0, 1, u64::MAX] {
            let mut bucket = Bandwidth::new(rate);
            bucket.sent(usize::MAX, now);
            let _ = bucket.wait(now);
        }
    }
}
