//! Whether a plugin's attempts compute, told by the ticks that pass while they run. A tick is no more than a sample, and
//! looking at one costs nothing that reading a clock would cost.

use crate::sync::atomic::{AtomicU32, Ordering};

/// What a tick counts, beside 1 for an attempt without one. So attempts of which one in 17 sees a tick are even: that is a mean of
/// some 60 us each.
const TICK: u32 = 16;

/// From here on a plugin computes: four ticks more than its short attempts make up for.
const COMPUTES: u32 = 4 * TICK;

/// No more is held against it: it is even again after 16,000 short attempts.
const MOST: u32 = 1_000 * TICK;

/// One plugin's balance: 0 if its attempts are short.
#[derive(Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// Whether its attempts are likely to compute for long.
    pub fn computes(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= COMPUTES
    }

    /// So many ticks have passed while it ran.
    pub fn ticked(&self, ticks: u64) {
        let added = u32::try_from(ticks).unwrap_or(MOST).saturating_mul(TICK);
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(added).min(MOST)));
    }

    /// An attempt has ended, and no tick has passed while it was polled last.
    pub fn was_short(&self) {
        // A look costs less than a write that every other thread has to hear of.
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
    fn a_plugin_that_has_computed_for_long_is_even_again_in_the_end() {
        let pace = Pace::default();
        pace.ticked(u64::MAX);
        let short = std::iter::repeat_with(|| pace.was_short()).take_while(|()| pace.computes()).count() as u32;
        assert_eq!(short, MOST - COMPUTES);
    }
}
