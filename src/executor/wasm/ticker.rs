//! Counts the engine's epoch up, so that a guest which computes lets others have their turn and can be ended.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::thread::{self, Thread};

/// A guest that computes gives way after at most two of these. A neighbour's guest loses nothing by it.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a running guest before the ticker goes to sleep: waking it costs a call to the kernel, so a
/// queue whose jobs come one by one should not do it for each.
const IDLE_TICKS: u32 = 100;

/// Knows whether anything runs that has to be ticked.
#[derive(Default)]
pub(super) struct Ticker {
    running: AtomicUsize,
    asleep: AtomicBool,
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

    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            idle = if self.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle < IDLE_TICKS {
                thread::sleep(TICK);
            } else {
                self.sleep();
                idle = 0;
            }
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
