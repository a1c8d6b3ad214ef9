//! Counts the engine's epoch up, so that a guest which computes lets others have their turn and can be ended.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{self, Thread};

/// A guest that computes gives way after at most this long. It is the longest time that a guest may take from a thread of
/// the application's runtime at once. To give way costs some 100 ns.
const TICK: Duration = Duration::from_millis(1);

/// Ticks without a running guest before the ticker goes to sleep, which is a second: waking it costs a call to the kernel, so a
/// queue whose jobs come one by one should not do it for each.
const IDLE_TICKS: u32 = 1_000;

/// Knows whether anything runs that has to be ticked.
#[derive(Default)]
pub(super) struct Ticker {
    running: AtomicUsize,
    asleep: AtomicBool,
    ticks: AtomicU64,
}

/// Ticks while it lives.
pub(super) struct Ticked<'t>(&'t Ticker);

impl Drop for Ticked<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread; it ends with the engine.
    pub fn start(self: &Arc<Self>, engine: EngineWeak) -> std::io::Result<Thread> {
        let ticker = self.clone();
        let started = thread::Builder::new().name("millpond-ticker".into()).spawn(move || ticker.run(&engine))?;
        Ok(started.thread().clone())
    }

    pub fn enter(&self, thread: &Thread) -> Ticked<'_> {
        // Counted before the look: the ticker looks at the count after it has said that it sleeps.
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
        Ticked(self)
    }

    /// Ticks so far. Between two looks at it without a tick no guest has had to give way.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while let Some(engine) = engine.upgrade() {
            // Before the epoch: a guest that had to give way at this tick finds that it has been counted.
            self.ticks.fetch_add(1, Ordering::Release);
            engine.increment_epoch();
            drop(engine);
            idle = if self.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
            // After a sleep as well: the guest that has ended it gets its whole tick.
            thread::sleep(TICK);
        }
    }

    fn sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        while self.asleep.load(Ordering::SeqCst) && self.running.load(Ordering::SeqCst) == 0 {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
impl Ticker {
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }
}
