//! What is told to the application's recorder, through the facade `metrics`. docs/metrics.md lists all of it. A build without
//! the feature `metrics` has `no_meters.rs` instead.
//!
//! What happens for each attempt and each commit goes through handles that are made once. All else is read now and then, by
//! a chore of the upkeep.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Histogram, counter, gauge, histogram};

use super::commits::CommitCost;
use super::described::describe_all;
use super::end::End;
use crate::job::{IdMap, KindId, OTHER_KINDS};

/// What is told of all queues together.
#[derive(Debug)]
pub(super) struct Meters {
    commits: Counter,
    commit_duration: Histogram,
    commit_operations: Histogram,
    refills: Counter,
}

/// What is told of the attempts of one worker.
pub(crate) struct WorkerMeters {
    kinds: IdMap<KindMeters, KindId>,
}

struct KindMeters {
    started: Counter,
    waited: Histogram,
    took: Histogram,
    ended: [Counter; End::ALL.len()],
}

impl Default for Meters {
    fn default() -> Self {
        describe_all();
        Self {
            commits: counter!("millpond.commits"),
            commit_duration: histogram!("millpond.commit.duration"),
            commit_operations: histogram!("millpond.commit.operations"),
            refills: counter!("millpond.window.refills"),
        }
    }
}

impl Meters {
    pub fn committed(&self, cost: CommitCost) {
        self.commits.increment(1);
        self.commit_duration.record(cost.took);
        self.commit_operations.record(cost.operations as f64);
    }

    pub fn refilled(&self) {
        self.refills.increment(1);
    }
}

impl End {
    const ALL: [Self; 7] = [
        Self::Completed,
        Self::Retried,
        Self::Snoozed,
        Self::RateLimited,
        Self::Cancelled,
        Self::Dead,
        Self::GivenBack,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Retried => "retried",
            Self::Snoozed => "snoozed",
            Self::RateLimited => "rate_limited",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
            Self::GivenBack => "given_back",
        }
    }
}

impl WorkerMeters {
    pub fn of<'a>(queue: &str, kinds: impl Iterator<Item = (KindId, &'a str)>) -> Self {
        Self { kinds: kinds.map(|(number, kind)| (number, KindMeters::of(queue, kind))).collect() }
    }

    fn of_kind(&self, kind: KindId) -> Option<&KindMeters> {
        self.kinds.get(&kind).or_else(|| self.kinds.get(&OTHER_KINDS))
    }

    /// An attempt begins whose job has waited this long since it could run.
    pub fn started(&self, kind: KindId, waited: impl FnOnce() -> Duration) {
        let Some(meters) = self.of_kind(kind) else { return };
        meters.started.increment(1);
        meters.waited.record(waited());
    }

    /// An attempt has ended that took this long.
    pub fn ended(&self, kind: KindId, end: impl FnOnce() -> Option<End>, took: Duration) {
        let (Some(meters), Some(end)) = (self.of_kind(kind), end()) else { return };
        meters.ended[end as usize].increment(1);
        meters.took.record(took);
    }
}

impl KindMeters {
    fn of(queue: &str, kind: &str) -> Self {
        let (queue, kind): (Arc<str>, Arc<str>) = (queue.into(), kind.into());
        let labels = || [("queue", queue.clone()), ("kind", kind.clone())];
        let ended = |end: End| {
            let [of_queue, of_kind] = labels();
            counter!("millpond.jobs.ended", &[of_queue, of_kind, ("outcome", end.label().into())])
        };
        Self {
            started: counter!("millpond.jobs.started", &labels()),
            waited: histogram!("millpond.jobs.wait.duration", &labels()),
            took: histogram!("millpond.jobs.run.duration", &labels()),
            ended: End::ALL.map(ended),
        }
    }
}

/// What is read of one queue.
pub(crate) struct QueueReading {
    pub queue: Arc<str>,
    pub enqueued_total: u64,
    pub dead_total: u64,
    pub dropped_total: u64,
    pub limiter_waits: u64,
    /// The jobs in each of [`STATES`].
    pub jobs: [u64; STATES.len()],
    /// How long the oldest ready job has waited; zero if there is none.
    pub oldest_ready: Duration,
}

/// What is read of one stream.
pub(crate) struct StreamReading {
    pub stream: Arc<str>,
    pub entries: u64,
    pub bytes: u64,
}

/// What is read of one consumer of a stream.
pub(crate) struct ConsumerReading {
    pub stream: Arc<str>,
    pub consumer: Arc<str>,
    pub behind: u64,
    /// How long the first entry has waited that it is not done with; zero if it is done with all.
    pub waits: Duration,
    pub lost_total: u64,
}

/// What is read of one link.
pub(crate) struct LinkReading {
    pub link: Arc<str>,
    pub queue: Arc<str>,
    pub is_connected: bool,
    /// `None` if it is not known.
    pub lag: Option<u64>,
    pub in_doubt: u64,
    pub held: u64,
    /// By how much each of [`LINK_COUNTERS`] has grown.
    pub grown: [u64; LINK_COUNTERS.len()],
}

/// What is counted of a link. It counts from 0 when it is started again, so the recorder is told differences.
pub(crate) const LINK_COUNTERS: [&str; 7] = [
    "millpond.link.jobs",
    "millpond.link.known",
    "millpond.link.unreadable",
    "millpond.link.engine_went_back",
    "millpond.link.file_went_back",
    "millpond.link.lost_batches",
    "millpond.link.lost_leases",
];

/// What is read of the file and of the process.
pub(crate) struct PondReading {
    pub is_degraded: bool,
    pub inbox: usize,
    pub running: usize,
    pub running_max: usize,
    /// `None` for an attached database.
    pub file_bytes: Option<u64>,
    pub written_bytes_total: Option<u64>,
    pub syncs_total: Option<u64>,
}

impl QueueReading {
    /// What is told of a queue that was removed.
    pub fn removed(queue: Arc<str>) -> Self {
        let jobs = [0; STATES.len()];
        let (enqueued_total, dead_total, dropped_total, limiter_waits) = (0, 0, 0, 0);
        Self { queue, enqueued_total, dead_total, dropped_total, limiter_waits, jobs, oldest_ready: Duration::ZERO }
    }

    pub fn tell(self) {
        let of = || [("queue", self.queue.clone())];
        counter!("millpond.jobs.enqueued", &of()).absolute(self.enqueued_total);
        counter!("millpond.jobs.dead", &of()).absolute(self.dead_total);
        counter!("millpond.jobs.dropped", &of()).absolute(self.dropped_total);
        counter!("millpond.limiter.waits", &of()).absolute(self.limiter_waits);
        for (state, jobs) in STATES.into_iter().zip(self.jobs) {
            let labels = [("queue", self.queue.clone()), ("state", state.into())];
            gauge!("millpond.queue.jobs", &labels).set(jobs as f64);
        }
        gauge!("millpond.queue.oldest_ready.age", &of()).set(self.oldest_ready);
    }
}

impl StreamReading {
    /// What is told of a stream that was removed.
    pub fn removed(stream: Arc<str>) -> Self {
        Self { stream, entries: 0, bytes: 0 }
    }

    pub fn tell(self) {
        let of = || [("stream", self.stream.clone())];
        gauge!("millpond.stream.entries", &of()).set(self.entries as f64);
        gauge!("millpond.stream.size", &of()).set(self.bytes as f64);
    }
}

impl ConsumerReading {
    /// What is told of a consumer that was removed.
    pub fn removed(stream: Arc<str>, consumer: Arc<str>) -> Self {
        Self { stream, consumer, behind: 0, waits: Duration::ZERO, lost_total: 0 }
    }

    pub fn tell(self) {
        let of = || [("stream", self.stream.clone()), ("consumer", self.consumer.clone())];
        gauge!("millpond.consumer.lag", &of()).set(self.behind as f64);
        gauge!("millpond.consumer.lag.age", &of()).set(self.waits);
        counter!("millpond.consumer.lost", &of()).absolute(self.lost_total);
    }
}

impl LinkReading {
    /// What is told of a link that was stopped.
    pub fn removed(link: Arc<str>, queue: Arc<str>) -> Self {
        let grown = [0; LINK_COUNTERS.len()];
        Self { link, queue, is_connected: false, lag: Some(0), in_doubt: 0, held: 0, grown }
    }

    pub fn tell(self) {
        let of = || [("link", self.link.clone()), ("queue", self.queue.clone())];
        gauge!("millpond.link.connected", &of()).set(f64::from(u8::from(self.is_connected)));
        if let Some(lag) = self.lag {
            gauge!("millpond.link.lag", &of()).set(lag as f64);
        }
        gauge!("millpond.link.in_doubt", &of()).set(self.in_doubt as f64);
        gauge!("millpond.link.held", &of()).set(self.held as f64);
        for (name, grown) in LINK_COUNTERS.into_iter().zip(self.grown) {
            counter!(name, &of()).increment(grown);
        }
    }
}

impl PondReading {
    pub fn tell(self) {
        gauge!("millpond.degraded").set(f64::from(u8::from(self.is_degraded)));
        gauge!("millpond.writer.inbox").set(self.inbox as f64);
        gauge!("millpond.process.jobs").set(self.running as f64);
        gauge!("millpond.process.jobs.limit").set(self.running_max as f64);
        if let Some(bytes) = self.file_bytes {
            gauge!("millpond.storage.size").set(bytes as f64);
        }
        if let Some(bytes) = self.written_bytes_total {
            counter!("millpond.storage.written").absolute(bytes);
        }
        if let Some(syncs) = self.syncs_total {
            counter!("millpond.storage.syncs").absolute(syncs);
        }
    }
}

/// The states of [`QueueReading::jobs`].
const STATES: [&str; 9] =
    ["pending", "running", "ending", "scheduled", "retrying", "blocked", "completed", "dead", "cancelled"];

/// What is read of one plugin.
#[cfg(feature = "wasm")]
pub(crate) struct PluginReading {
    pub queue: Arc<str>,
    pub kind: Arc<str>,
    pub plugin: Arc<str>,
    pub attempts_total: u64,
    pub broken_total: u64,
    pub traps_total: u64,
    pub is_suspended: bool,
    pub computed: Duration,
    pub memory_max: u64,
}

#[cfg(feature = "wasm")]
impl PluginReading {
    pub fn tell(self) {
        let of = || [("queue", self.queue.clone()), ("kind", self.kind.clone()), ("plugin", self.plugin.clone())];
        counter!("millpond.plugin.calls", &of()).absolute(self.attempts_total);
        counter!("millpond.plugin.broken", &of()).absolute(self.broken_total);
        counter!("millpond.plugin.traps", &of()).absolute(self.traps_total);
        let micros = u64::try_from(self.computed.as_micros()).unwrap_or(u64::MAX);
        counter!("millpond.plugin.compute.time", &of()).absolute(micros);
        gauge!("millpond.plugin.memory.max", &of()).set(self.memory_max as f64);
        gauge!("millpond.plugin.suspended", &of()).set(f64::from(u8::from(self.is_suspended)));
    }
}
