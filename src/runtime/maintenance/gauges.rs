//! Reads now and then what is told to the application's recorder of metrics, and is not told by what happens itself. A build
//! without the feature `metrics` has `no_gauges.rs` instead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::own_thread::{Chore, OwnThread};
use crate::job::QueueId;
use crate::metrics::{PondReading, QueueReading};
use crate::runtime::depth::Depth;
use crate::runtime::engine::Engine;
use crate::sync::Mutex;
use crate::time::Now;

/// A scrape of metrics usually comes every 15 to 60 seconds.
const CHORE: Chore =
    Chore { every: Duration::from_secs(10), thread: "millpond-metrics", undone: "metrics could not be read" };

/// How many queues are read, at most: each has a dozen time series, and the first jobs of each are read from the file.
const QUEUES_MAX: usize = 1_000;

/// Reads the gauges, on a thread of its own because that reads the file.
#[derive(Default)]
pub(in crate::runtime) struct Gauges {
    thread: OwnThread,
    told: Arc<Told>,
}

/// The queues that were read last. Only the thread that reads locks this.
#[derive(Default)]
struct Told(Mutex<BTreeSet<Arc<str>>>);

impl Gauges {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if engine.is_stepped() {
            return Duration::MAX;
        }
        let (engine, told) = (engine.clone(), self.told.clone());
        self.thread.run_once(&CHORE, now, move || told.read(&engine))
    }
}

impl Told {
    fn read(&self, engine: &Arc<Engine>) {
        let queues = engine.stored_queues().into_iter().take(QUEUES_MAX);
        let now_told: BTreeSet<_> = queues.map(|queue| tell_queue(engine, queue)).collect();
        let mut told = self.0.lock().unwrap_or_else(|e| e.into_inner());
        told.difference(&now_told).for_each(|gone| QueueReading::removed(gone.clone()).tell());
        *told = now_told;
        read_pond(engine).tell();
        tell_plugins(engine);
    }
}

/// Tells what a queue is like, and returns its name.
fn tell_queue(engine: &Arc<Engine>, queue: QueueId) -> Arc<str> {
    let name = engine.queue_name(queue);
    let Depth { tally, pending, running, ending } = engine.depth(queue);
    // On its own line, so that the scheduler is locked no longer: the age below locks it, too.
    let limiter_waits = engine.scheduler().limiter_waits(queue);
    let reading = QueueReading {
        queue: name.clone(),
        enqueued_total: tally.enqueued_total,
        dead_total: tally.dead_total,
        limiter_waits,
        jobs: [
            pending,
            running,
            ending,
            tally.scheduled,
            tally.retrying,
            tally.blocked,
            tally.completed,
            tally.dead,
            tally.cancelled,
        ],
        // A file that cannot be read at the moment is told by other means.
        oldest_ready: engine.oldest_ready_age(queue).ok().flatten().unwrap_or_default(),
    };
    reading.tell();
    name
}

fn read_pond(engine: &Arc<Engine>) -> PondReading {
    let (slots, written) = (engine.slots(), engine.written());
    PondReading {
        is_degraded: engine.degraded().is_some(),
        inbox: engine.to_writer.len(),
        running: slots.running,
        running_max: slots.running_max,
        file_bytes: engine.file_bytes(),
        written_bytes_total: written.map(|written| written.bytes),
        syncs_total: written.map(|written| written.syncs),
    }
}

#[cfg(feature = "wasm")]
fn tell_plugins(engine: &Engine) {
    use crate::metrics::PluginReading;

    for plugin in engine.served_plugins() {
        let (counts, is_suspended) = (plugin.handle.counts(), plugin.handle.is_suspended());
        let reading = PluginReading {
            queue: plugin.queue,
            kind: plugin.kind,
            plugin: plugin.handle.name().into(),
            attempts_total: counts.attempts_total,
            broken_total: counts.broken_total,
            traps_total: counts.traps_total,
            is_suspended,
            computed: counts.computed,
            memory_max: counts.memory_max,
        };
        reading.tell();
    }
}

#[cfg(not(feature = "wasm"))]
fn tell_plugins(_: &Engine) {}
