//! An engine without threads, which a test drives one step at a time.

use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::open::{Setup, assemble};
use super::writer_loop::WriterLoop;
use super::{dispatcher, shutdown};
use crate::error::Error;

/// An engine without threads: the caller runs the same loops, a step at a time, on its own thread. With the caller's clock, disk
/// and runtime, the same steps give the same run.
pub(crate) struct Steps {
    engine: Arc<Engine>,
    /// `None` once the file is closed.
    writer: Option<WriterLoop>,
}

impl Steps {
    pub fn open(setup: Setup) -> Result<(Arc<Engine>, Self), Error> {
        let setup = Setup { config: super::Config { stepped: true, ..setup.config }, ..setup };
        let (engine, writer) = assemble(setup)?;
        engine.executor.blocking.step_by_hand();
        Ok((engine.clone(), Self { engine, writer: Some(writer) }))
    }

    /// Commits what has gathered and answers its callers. Returns false if there was nothing to do.
    pub fn write(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let Some(round) = writer.gathered() else { return false };
        if !writer.run_round(round)
            && let Some(writer) = self.writer.take()
        {
            writer.close();
        }
        true
    }

    /// Whether the dispatcher was woken since it last ran.
    pub fn is_woken(&self) -> bool {
        self.engine.alarm.is_woken()
    }

    /// Runs the dispatcher once. Returns how long nothing becomes due.
    pub fn dispatch(&mut self) -> Option<Duration> {
        self.engine.alarm.sleep(Duration::ZERO);
        if self.engine.is_stopping() {
            return self.engine.executor.running.end_overdue(self.engine.now());
        }
        dispatcher::run_once(&self.engine).map(|sleep| sleep.at_most)
    }

    /// Runs one blocking handler, as a thread of the pool does. Returns false if none waits for a thread.
    pub fn run_thread(&mut self) -> bool {
        self.engine.executor.blocking.run_one()
    }

    /// Blocking attempts that were handed out and wait for a thread.
    pub fn waiting_for_threads(&self) -> usize {
        self.engine.executor.blocking.waiting()
    }

    /// How many commands wait for the writer.
    pub fn inbox(&self) -> usize {
        self.engine.to_writer.len()
    }

    /// Begins the stop: nothing starts any more.
    pub fn begin_stop(&mut self) {
        shutdown::begin(&self.engine);
    }

    /// Tells handlers to stop.
    pub fn cancel_running(&mut self) {
        self.engine.executor.running.cancel_all();
    }

    /// Gives back the jobs that still run. The next [`Self::write`] closes the file.
    pub fn take_back(&mut self) {
        shutdown::take_back(&self.engine);
    }

    pub fn is_closed(&self) -> bool {
        self.writer.is_none()
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.engine.executor.blocking.forget_waiting();
    }
}
