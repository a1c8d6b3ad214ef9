//! How far the stop of an engine has come.

use std::time::Duration;

use super::flag::Flag;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far the stop of an engine has come.
#[derive(Default)]
pub(in crate::runtime) struct StopState {
    has_begun: AtomicBool,
    is_closed: AtomicBool,
    /// The same, for threads that wait for it.
    closed: Flag,
    /// Milliseconds that the stop leaves for work that can also be left undone.
    left_ms: AtomicU64,
}

impl StopState {
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::SeqCst)
    }

    /// Begins the stop. Returns false if it has begun already.
    pub fn begin(&self) -> bool {
        !self.has_begun.swap(true, Ordering::SeqCst)
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Notes that the file is closed. `before_waiters` runs the first time only, before any thread that waits for the close
    /// can go on, and perhaps end the process.
    pub fn close(&self, before_waiters: impl FnOnce()) {
        let was_closed = self.is_closed.swap(true, Ordering::SeqCst);
        if !was_closed {
            before_waiters();
        }
        self.closed.raise();
    }

    /// Blocks this thread until the file is closed, for `at_most` this long. Returns whether it is closed.
    pub fn wait_until_closed(&self, at_most: Duration) -> bool {
        self.closed.wait(at_most)
    }

    /// The time that the stop leaves for work that can also be left undone.
    pub fn time_left(&self) -> Duration {
        Duration::from_millis(self.left_ms.load(Ordering::SeqCst))
    }

    pub fn set_time_left(&self, left: Duration) {
        self.left_ms.store(u64::try_from(left.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}
