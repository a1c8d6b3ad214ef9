//! Something that happens once, and that threads can wait for.

use std::time::Duration;

use crate::sync::{Condvar, Mutex};

/// Something that happens once, and that threads can wait for.
#[derive(Default)]
pub(in crate::runtime) struct Flag {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    pub fn raise(&self) {
        *self.raised.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.changed.notify_all();
    }

    /// Blocks this thread until the flag is raised, for `at_most` this long. Returns whether it is raised.
    pub fn wait(&self, at_most: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(|e| e.into_inner());
        let waited = self.changed.wait_timeout_while(raised, at_most, |raised| !*raised);
        *waited.unwrap_or_else(|e| e.into_inner()).0
    }
}
