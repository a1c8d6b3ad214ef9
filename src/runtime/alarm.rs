use std::time::Duration;

use crate::sync::{Condvar, Mutex};

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
}
