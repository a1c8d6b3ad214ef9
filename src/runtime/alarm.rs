//! Lets one thread sleep until an exact time, or until it is woken.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, thread};

/// A thread that sleeps wakes up late, usually by a tenth of a millisecond. A thread that must not be late sleeps this much
/// less, and reads the clock again and again for the rest.
const USUALLY_LATE: Duration = Duration::from_micros(150);

/// A longer wait is an ordinary sleep, because a tenth of a millisecond is a small part of it. Rates that need exact times are
/// above 50 per second, so their waits are 20 ms at most.
const EXACT_MAX: Duration = Duration::from_millis(50);

/// Wakes one sleeper; a wake-up while no thread sleeps is not lost.
#[derive(Default)]
pub(super) struct Alarm {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Alarm {
    pub fn wake(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(|e| e.into_inner());
        if !*woken {
            *woken = true;
            self.condvar.notify_one();
        }
    }

    /// Whether it was woken and no thread has slept since.
    pub fn is_woken(&self) -> bool {
        *self.woken.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Returns whether it was woken, also before it slept.
    pub fn sleep(&self, longest: Duration) -> bool {
        let woken = self.woken.lock().unwrap_or_else(|e| e.into_inner());
        let (mut woken, _) =
            self.condvar.wait_timeout_while(woken, longest, |woken| !*woken).unwrap_or_else(|e| e.into_inner());
        std::mem::take(&mut *woken)
    }

    /// [`Self::sleep`] that is not late if it is short: for the last [`USUALLY_LATE`] it keeps the processor busy.
    /// Returns at once when it is woken.
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
            if std::mem::take(&mut *self.woken.lock().unwrap_or_else(|e| e.into_inner())) {
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
    fn an_exact_sleep_ends_when_it_is_woken() {
        for longest in [USUALLY_LATE / 2, EXACT_MAX, EXACT_MAX * 2, Duration::MAX] {
            let alarm = Alarm::default();
            alarm.wake();
            assert!(alarm.sleep_exactly(longest), "{longest:?}: the wake-up is not waited past");
            assert!(!alarm.is_woken(), "{longest:?}: it ends one sleep only");
        }
        assert!(!Alarm::default().sleep_exactly(USUALLY_LATE * 2));
    }
}
