//! Estimates whether a plugin's attempts compute, from the ticks that pass while they run. A tick is only a sample, but
//! reading the count of ticks is much cheaper than reading a clock.

use crate::sync::atomic::{AtomicU32, Ordering};

/// How much a tick adds to the balance. An attempt without a tick subtracts 1. So the balance stays level if one
/// attempt in 17 sees a tick, which is a mean of about 60 us per attempt.
const TICK: u32 = 16;

/// The balance from which a plugin counts as computing: four ticks more than its short attempts have subtracted.
const COMPUTES: u32 = 4 * TICK;

/// The highest balance. 16,000 short attempts bring it back to 0.
const MOST: u32 = 1_000 * TICK;

/// One plugin's balance. It is 0 if the plugin's attempts are short.
#[derive(Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// Whether its attempts are likely to compute for long.
    pub fn computes(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= COMPUTES
    }

    /// Records that `ticks` ticks have passed while an attempt ran.
    pub fn ticked(&self, ticks: u64) {
        let added = u32::try_from(ticks).unwrap_or(MOST).saturating_mul(TICK);
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(added).min(MOST)));
    }

    /// Records that an attempt has ended, and no tick has passed during its last poll.
    pub fn was_short(&self) {
        // A read costs less than a write, which other processors' caches would have to learn of.
        if self.0.load(Ordering::Relaxed) != 0 {
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_sub(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_computes_once_a_tick_passes_in_more_than_one_of_17_attempts() {
        let run = |short: u32, attempts: u32| {
            let pace = Pace::default();
            for attempt in 0..attempts {
                if attempt % (short + 1) == 0 { pace.ticked(1) } else { pace.was_short() }
            }
            pace.computes()
        };
        assert!(run(0, 4) && !run(0, 3));
        assert!(run(14, 1_000) && !run(18, 100_000));
    }

    #[test]
    fn a_plugin_that_has_computed_for_long_counts_as_short_again_after_enough_short_attempts() {
        let pace = Pace::default();
        pace.ticked(u64::MAX);
        let short = std::iter::repeat_with(|| pace.was_short()).take_while(|()| pace.computes()).count() as u32;
        assert_eq!(short, MOST - COMPUTES);
    }
}
