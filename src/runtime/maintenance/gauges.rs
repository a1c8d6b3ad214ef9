//! Reads now and then what is told to the application's recorder of metrics, and is not told by what happens itself. A build
//! without the feature `metrics` has `no_gauges.rs` instead.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::every::Every;
use crate::job::QueueId;
use crate::metrics::{PondReading, QueueReading, STATES};
use crate::runtime::engine::Engine;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, thread};
use crate::time::Now;

/// How often the gauges are read. A scrape of metrics usually comes every 15 to 60 seconds.
const EVERY: Duration = Duration::from_secs(10);

/// How many queues are read, at most: each has a dozen time series, and the first jobs of each are read from the file.
const QUEUES_MAX: usize = 1_000;

/// Reads the gauges, on a thread of its own because that reads the file.
#[derive(Default)]
pub(in crate::runtime) struct Gauges {
    next: Every,
    reads: Arc<Reads>,
}

#[derive(Default)]
struct Reads {
    /// A thread reads at this moment.
    is_busy: AtomicBool,
    /// The queues that were read last.
    told: Mutex<BTreeSet<Arc<str>>>,
}

impl Gauges {
    pub fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration {
        if engine.is_stepped() {
            return Duration::MAX;
        }
        if let Some(wait) = self.next.wait(EVERY, now) {
            return wait;
        }
        let reads = self.reads.clone();
        if reads.is_busy.swap(true, Ordering::SeqCst) {
            return EVERY;
        }
        let engine = engine.clone();
        let read = {
            let reads = reads.clone();
            move || {
                reads.read(&engine);
                reads.is_busy.store(false, Ordering::SeqCst);
            }
        };
        if let Err(error) = thread::Builder::new().name("millpond-metrics".into()).spawn(read) {
            reads.is_busy.store(false, Ordering::SeqCst);
            tracing::warn!(%error, "metrics could not be read: no thread could be started");
        }
        EVERY
    }
}

impl Reads {
    fn read(&self, engine: &Arc<Engine>) {
        let queues = engine.stored_queues();
        let now_told: BTreeSet<_> = queues
            .into_iter()
            .take(QUEUES_MAX)
            .map(|queue| {
                read_queue(engine, queue).tell();
                engine.queue_name(queue)
            })
            .collect();
        let mut told = self.told.lock().unwrap_or_else(|e| e.into_inner());
        told.difference(&now_told).for_each(|gone| QueueReading::removed(gone.clone()).tell());
        *told = now_told;
        read_pond(engine).tell();
        tell_plugins(engine);
    }
}

fn read_queue(engine: &Arc<Engine>, queue: QueueId) -> QueueReading {
    let tally = engine.tally(queue);
    let (taken, running, limiter_waits) = {
        let scheduler = engine.scheduler();
        let (taken, running) = (scheduler.handed_out_in(queue) as u64, scheduler.running_in(queue) as u64);
        (taken.min(tally.pending), running, scheduler.limiter_waits(queue))
    };
    let running = running.min(taken);
    let jobs = [
        tally.pending - taken,
        running,
        taken - running,
        tally.scheduled,
        tally.retrying,
        tally.completed,
        tally.dead,
        tally.cancelled,
    ];
    let mut states = STATES.map(|state| (state, 0));
    for (state, jobs) in states.iter_mut().zip(jobs) {
        state.1 = jobs;
    }
    QueueReading {
        queue: engine.queue_name(queue),
        enqueued_total: tally.enqueued_total,
        dead_total: tally.dead_total,
        limiter_waits,
        states,
        // A file that cannot be read at the moment is told by other means.
        oldest_ready: engine.oldest_ready_age(queue).ok().flatten().unwrap_or_default(),
    }
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
        };
        reading.tell();
    }
}

#[cfg(not(feature = "wasm"))]
fn tell_plugins(_: &Engine) {}
