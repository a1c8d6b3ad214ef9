use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex, thread};

/// A thread that sleeps wakes up late, usually by a tenth of a millisecond. One that must not be late
/// sleeps so much less, and looks at the clock for the rest.
const USUALLY_LATE: Duration = Duration::from_micros(150);

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

    pub fn sleep(&self, longest: Duration) {
        let rung = self.rung.lock().unwrap_or_else(|e| e.into_inner());
        let (mut rung, _) =
            self.bell.wait_timeout_while(rung, longest, |rung| !*rung).unwrap_or_else(|e| e.into_inner());
        *rung = false;
    }

    /// [`Self::sleep`] that is not late: for a short time it keeps the processor busy.
    pub fn sleep_exactly(&self, longest: Duration) {
        let end = Instant::now() + longest;
        if let Some(most) = longest.checked_sub(USUALLY_LATE) {
            self.sleep(most);
        }
        while Instant::now() < end && !std::mem::take(&mut *self.rung.lock().unwrap_or_else(|e| e.into_inner())) {
            thread::yield_now();
        }
    }
}
