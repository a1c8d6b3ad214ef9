use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, thread};

/// A thread that sleeps wakes up late, usually by a tenth of a millisecond. One that must not be late
/// sleeps so much less, and looks at the clock for the rest.
const USUALLY_LATE: Duration = Duration::from_micros(150);

/// Longer waits are slept through: being late by a tenth of a millisecond is then a small part of the wait. The rates
/// that need exact times are above 50 per second, so they wait for 20 ms at most.
const EXACT_MAX: Duration = Duration::from_millis(50);

/// Wakes one sleeper; a ring while nobody sleeps is not forgotten.
#[derive(Default)]
pub(super) struct Alarm {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Alarm {
    pub fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(|e| e.into_inner());
        if !*rung {
            *rung = true;
            self.bell.notify_one();
        }
    }

    /// Whether nobody has slept since it was rung.
    pub fn is_rung(&self) -> bool {
        *self.rung.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Returns whether it was rung, also before it slept.
    pub fn sleep(&self, longest: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(|e| e.into_inner());
        let (mut rung, _) =
            self.bell.wait_timeout_while(rung, longest, |rung| !*rung).unwrap_or_else(|e| e.into_inner());
        std::mem::take(&mut *rung)
    }

    /// [`Self::sleep`] that is not late if it is short: for the last [`USUALLY_LATE`] it keeps the processor busy.
    /// Returns at once when it is rung.
    pub fn sleep_exactly(&self, longest: Duration) -> bool {
        if longest > EXACT_MAX {
            return self.sleep(longest);
        }
        let end = Instant::now() + longest;
        if let Some(most) = longest.checked_sub(USUALLY_LATE)
            && self.sleep(most)
        {
            return true;
        }
        while Instant::now() < end {
            if std::mem::take(&mut *self.rung.lock().unwrap_or_else(|e| e.into_inner())) {
                return true;
            }
            thread::yield_now();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_sleep_ends_when_it_is_rung() {
        for longest in [USUALLY_LATE / 2, EXACT_MAX, EXACT_MAX * 2, Duration::MAX] {
            let alarm = Alarm::default();
            alarm.ring();
            assert!(alarm.sleep_exactly(longest), "{longest:?}: the ring is not waited past");
            assert!(!alarm.is_rung(), "{longest:?}: it ends one sleep only");
        }
        assert!(!Alarm::default().sleep_exactly(USUALLY_LATE * 2));
    }
}
