//! Reads now and then what is told to the application's recorder of metrics, and is not told by what happens itself. A build
//! without the feature `metrics` has `no_gauges.rs` instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::own_thread::{Chore, OwnThread};
use crate::job::{ConsumerInfo, QueueId, StreamInfo};
use crate::links::LinkInfo;
use crate::metrics::{ConsumerReading, LINK_COUNTERS, LinkReading, PondReading, QueueReading, StreamReading};
use crate::runtime::depth::Depth;
use crate::runtime::engine::Engine;
use crate::sync::Mutex;
use crate::time::{Now, Timestamp};

/// A scrape of metrics usually comes every 15 to 60 seconds.
const CHORE: Chore =
    Chore { every: Duration::from_secs(10), thread: "millpond-metrics", undone: "metrics could not be read" };

/// How many queues are read, at most: each has a dozen time series, and the first jobs of each are read from the file.
const QUEUES_MAX: usize = 1_000;

/// How many streams and how many consumers are read, at most: of each consumer an entry is read from the file.
const STREAMS_MAX: usize = 1_000;

/// How many links are read, at most: each has eleven time series.
const LINKS_MAX: usize = 1_000;

/// Reads the gauges, on a thread of its own because that reads the file.
#[derive(Default)]
pub(in crate::runtime) struct Gauges {
    thread: OwnThread,
    told: Arc<Told>,
}

/// The queues, streams, consumers and links that were read last. Only the thread that reads locks this.
#[derive(Default)]
struct Told(Mutex<Names>);

#[derive(Default)]
struct Names {
    queues: BTreeSet<Arc<str>>,
    streams: BTreeSet<Arc<str>>,
    /// Each with its stream before it.
    consumers: BTreeSet<(Arc<str>, Arc<str>)>,
    links: BTreeMap<Arc<str>, LinkTold>,
}

/// A link as it was read last.
struct LinkTold {
    queue: Arc<str>,
    started_at: Timestamp,
    counters: [u64; LINK_COUNTERS.len()],
}

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
        let queues: BTreeSet<_> = queues.map(|queue| tell_queue(engine, queue)).collect();
        let mut told = self.0.lock().unwrap_or_else(|e| e.into_inner());
        told.queues.difference(&queues).for_each(|gone| QueueReading::removed(gone.clone()).tell());
        told.queues = queues;
        // A file that cannot be read at the moment is told by other means.
        if let (Ok(streams), Ok(consumers)) =
            (engine.stream_infos("", STREAMS_MAX), engine.consumer_infos(None, STREAMS_MAX))
        {
            let streams = streams.into_iter().map(tell_stream).collect();
            told.streams.difference(&streams).for_each(|gone| StreamReading::removed(gone.clone()).tell());
            told.streams = streams;
            let consumers = consumers.into_iter().map(|found| tell_consumer(engine, found)).collect();
            for (stream, consumer) in told.consumers.difference(&consumers) {
                ConsumerReading::removed(stream.clone(), consumer.clone()).tell();
            }
            told.consumers = consumers;
        }
        let links: BTreeMap<_, _> =
            engine.link_infos().into_iter().take(LINKS_MAX).map(|link| tell_link(link, &told.links)).collect();
        for (name, gone) in told.links.iter().filter(|(name, _)| !links.contains_key(*name)) {
            LinkReading::removed(name.clone(), gone.queue.clone()).tell();
        }
        told.links = links;
        drop(told);
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
        dropped_total: tally.dropped_total,
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

/// Tells what a stream is like, and returns its name.
fn tell_stream(stream: StreamInfo) -> Arc<str> {
    let name: Arc<str> = stream.name.into();
    StreamReading { stream: name.clone(), entries: stream.entries, bytes: stream.bytes }.tell();
    name
}

/// Tells how far a consumer is behind, and returns its stream and its name.
fn tell_consumer(engine: &Engine, found: ConsumerInfo) -> (Arc<str>, Arc<str>) {
    let (stream, consumer): (Arc<str>, Arc<str>) = (found.stream.into(), found.name.into());
    let waits = found.behind_since.map(|since| engine.wall_now().since(since)).unwrap_or_default();
    let (behind, lost_total) = (found.behind, found.lost);
    ConsumerReading { stream: stream.clone(), consumer: consumer.clone(), behind, waits, lost_total }.tell();
    (stream, consumer)
}

/// Tells what a link is like, and returns that with its name.
fn tell_link(link: LinkInfo, told: &BTreeMap<Arc<str>, LinkTold>) -> (Arc<str>, LinkTold) {
    let LinkInfo { name, queue, started_at, state, .. } = link;
    let (name, queue): (Arc<str>, Arc<str>) = (name.into(), queue.into());
    let counters = [
        state.jobs,
        state.known,
        state.unreadable,
        state.engine_went_back,
        state.file_went_back,
        state.lost_batches,
        state.lost_leases,
    ];
    let before = told
        .get(&name)
        .filter(|told| told.started_at == started_at)
        .map_or([0; LINK_COUNTERS.len()], |told| told.counters);
    let mut grown = counters;
    grown.iter_mut().zip(before).for_each(|(grown, before)| *grown = grown.saturating_sub(before));
    let reading = LinkReading {
        link: name.clone(),
        queue: queue.clone(),
        is_connected: state.connected,
        lag: state.lag,
        in_doubt: state.in_doubt,
        held: state.held,
        grown,
    };
    reading.tell();
    (name, LinkTold { queue, started_at, counters })
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
