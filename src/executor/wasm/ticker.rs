//! Increments the engine's epoch at each tick, so that a guest that computes yields to other tasks and can be ended.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::EngineWeak;

use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{self, Thread};

/// The interval of the ticks. A guest that computes yields after at most this long, so it is the longest time that a
/// guest can hold a thread of the application's runtime at once. Yielding costs about 100 ns.
const TICK: Duration = Duration::from_millis(1);

/// The ticks without a running guest after which the ticker goes to sleep: one second. Waking the ticker costs a call
/// to the kernel, so a queue whose jobs come one by one should not do it for each job.
const IDLE_TICKS: u32 = 1_000;

/// The state of the ticker's thread, and the number of running guests.
#[derive(Default)]
pub(super) struct Ticker {
    running: AtomicUsize,
    asleep: AtomicBool,
    ticks: AtomicU64,
}

/// Keeps the ticker awake while it exists.
pub(super) struct Ticked<'t>(&'t Ticker);

impl Drop for Ticked<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    /// Starts the thread. It ends once the engine is dropped.
    pub fn start(self: &Arc<Self>, engine: EngineWeak) -> std::io::Result<Thread> {
        let ticker = self.clone();
        let started = thread::Builder::new().name("millpond-ticker".into()).spawn(move || ticker.run(&engine))?;
        Ok(started.thread().clone())
    }

    pub fn enter(&self, thread: &Thread) -> Ticked<'_> {
        // The count is raised before `asleep` is read, and the ticker reads the count after it has set `asleep`. So
        // either the ticker sees this guest, or this thread sees that the ticker sleeps.
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
        Ticked(self)
    }

    /// The number of ticks so far. If two reads return the same number, no guest has yielded at a tick between them.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Acquire)
    }

    fn run(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while let Some(engine) = engine.upgrade() {
            // Counted before the epoch changes: a guest that yields at this tick finds that the tick is counted.
            self.ticks.fetch_add(1, Ordering::Release);
            engine.increment_epoch();
            drop(engine);
            idle = if self.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
            if idle >= IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
            // Also after `sleep`, so that the guest that woke the ticker gets a whole tick.
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
