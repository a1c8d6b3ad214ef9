//! The facts of the process: its slots, its threads, and since when it has the file open.

use std::time::Duration;

use serde::Serialize;

use crate::runtime::{Engine, Slots};
use crate::time::{Timestamp, in_seconds};

/// How many jobs this process runs, and how many it can run. [`Millpond::process`](crate::Millpond::process) returns it.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.set_max_running(32)?;
/// let process = pond.process()?;
/// assert_eq!((process.running, process.running_max), (0, 32));
/// assert_eq!((process.opened_at, process.uptime), (pond.now(), Duration::ZERO));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// When the file was opened, by the queue's clock.
    pub opened_at: Timestamp,
    /// How long the file has been open, by the monotonic clock.
    #[serde(rename = "uptime_seconds", serialize_with = "in_seconds")]
    pub uptime: Duration,
    /// How many jobs run now, in all queues. It is more than `running_max` while jobs finish after that was lowered.
    pub running: usize,
    /// How many jobs can run at a time: [`Builder::max_running`](crate::Builder::max_running), or what
    /// [`Millpond::set_max_running`](crate::Millpond::set_max_running) has set since.
    pub running_max: usize,
    /// How many of the running jobs have a blocking handler. Each of them occupies a thread.
    pub blocking: usize,
    /// How many threads blocking handlers can occupy: [`Builder::blocking_threads`](crate::Builder::blocking_threads).
    /// Threads are started when they are needed.
    pub blocking_max: usize,
    /// Blocking handlers that have exceeded their timeouts and still keep their slots and threads.
    pub stuck: usize,
}

pub(crate) fn process(engine: &Engine) -> ProcessInfo {
    let Slots { running, running_max, blocking, threads_max, stuck } = engine.slots();
    ProcessInfo {
        opened_at: engine.opened_at(),
        uptime: engine.uptime(),
        running,
        running_max,
        blocking,
        blocking_max: threads_max,
        stuck,
    }
}
