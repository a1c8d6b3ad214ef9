//! The engine: the state that all threads of an open queue share, and its configuration.
//!
//! What is done with this state stands in the files beside this directory, by who does it: callers ([`calls`](super::calls)),
//! nouns that read ([`queries`](super::queries)), workers ([`workers`](super::workers)), the loops, and the upkeep. This
//! directory knows none of them.

mod flag;
mod health;
mod locked;
mod seeds;
mod stop_state;

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::alarm::Alarm;
use super::callers::Callers;
use super::cancels::Cancels;
use super::commit_turn::CommitTurn;
use super::entry_ids::EntryIds;
use super::expiries::Expiries;
use super::flow_times::FlowTimes;
use super::schedule_times::ScheduleTimes;
use super::waits::Waits;
use crate::events::EventBus;
use crate::executor::{Binding, Executor};
use crate::handler::Middleware;
use crate::job::{Change, IdMap, QueueId};
use crate::links::Registry;
use crate::metrics::Metrics;
use crate::scheduler::Scheduler;
use crate::storage::Store;
use crate::sync::atomic::AtomicUsize;
use crate::sync::{MustNotWait, Mutex, MutexGuard, RwLock};
use crate::time::{Now, TimeSource};
use crate::transaction::Prepare;
use crate::writer::{DeadHook, Occupied, WriterSender};

pub(super) use flag::Flag;
use health::Health;
pub(crate) use locked::Locked;
use seeds::Seeds;
use stop_state::StopState;

/// The start of a job that still runs after this long is written. A job that ends sooner saves that write.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(10);

/// Ready jobs that are held in memory for each queue, at most: for those with a group and those without one each.
pub(crate) const WINDOW_JOBS_MAX: usize = 4_096;

/// The bytes of these jobs, at most. Whichever limit is reached first applies.
pub(crate) const WINDOW_BYTES_MAX: usize = 2 << 20;

/// What the engine is set up with.
pub(crate) struct Config {
    /// How long the writer waits for more commands before each commit.
    pub linger: Duration,
    /// How long callers wait while another caller holds a guard.
    pub write_wait_max: Duration,
    /// How long an async handler may go on after the cancel of its job was requested.
    pub cancel_grace: Duration,
    /// The limits that jobs share: their names and their units when the file was opened.
    pub limits: Vec<(Arc<str>, u32)>,
    /// What runs around the attempts of all workers.
    pub middleware: Middleware,
    pub verify_on_open: bool,
    pub compaction: bool,
    /// Longest result that is kept, in bytes.
    pub result_bytes_max: usize,
    /// The engine has no threads: a test drives it step by step.
    pub stepped: bool,
}

/// Everything that the threads of one open queue share.
pub(crate) struct Engine {
    pub(super) store: Arc<Store>,
    pub(super) time: Arc<TimeSource>,
    /// When the file was opened.
    pub(super) opened: Now,
    pub(super) prepare: Arc<dyn Prepare>,
    pub(super) to_writer: WriterSender,
    pub(super) bus: Arc<EventBus>,
    /// The links that run in this process.
    pub(super) links: Arc<Registry>,
    pub(super) executor: Executor,
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: Config,
    /// What keeps the writer from going on.
    pub(super) occupied: Occupied,
    pub(super) commit_turn: CommitTurn,
    pub(super) callers: Callers,
    pub(super) cancels: Cancels,
    pub(super) waits: Arc<Waits>,
    pub(super) alarm: Alarm,
    pub(super) expiries: Expiries,
    pub(super) schedule_times: ScheduleTimes,
    pub(super) flow_times: FlowTimes,
    /// Tells the threads that wait that something has changed: an attempt ended, a commit was made.
    pub(super) moved: Notify,
    /// Tells readers of streams that there are new entries.
    pub(super) grown: Notify,
    pub(super) entry_ids: EntryIds,
    /// Steps of the engine itself that the writer has not answered yet.
    pub(super) own_steps: AtomicUsize,
    pub(super) health: Health,
    pub(super) stop: StopState,
    /// The worker of each queue that has one.
    pub(super) bindings: RwLock<IdMap<Arc<Binding>, QueueId>>,
    /// Raised once a stop has dropped all workers and what they held.
    pub(super) workers_dropped: Arc<Flag>,
    pub(super) seeds: Seeds,
    #[cfg(feature = "wasm")]
    pub(super) plugin_host: std::sync::OnceLock<Arc<crate::executor::Host>>,
    /// What the last `testing::drain` had seen: completed and failed attempts, dead jobs.
    pub(super) drained: Mutex<[u64; 3]>,
    upkeep: Mutex<Box<dyn Upkeep>>,
    /// The application's hook for dead jobs, until the file is closed.
    on_dead: Mutex<Option<DeadHook>>,
    scheduler: Mutex<Scheduler>,
}

/// The chores of an open queue, as the engine knows them.
pub(super) trait Upkeep: Send {
    /// Does what is due. Returns how long until the next chore.
    fn run_once(&mut self, engine: &Arc<Engine>, now: Now) -> Duration;

    /// The part of [`Self::run_once`] that writes nothing, for a time in which the file cannot be written.
    fn watch(&mut self, engine: &Arc<Engine>, now: Now) -> Duration;

    /// Whether every chore that the clock makes due, and that can be written, is done. Chores that only check now and then
    /// do not count.
    fn is_quiet(&self, engine: &Engine) -> bool;

    /// Notes that a worker has started.
    fn worker_started(&mut self, worker: &Weak<Binding>);
}

/// The parts that an engine is made of.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub prepare: Arc<dyn Prepare>,
    pub to_writer: WriterSender,
    pub bus: Arc<EventBus>,
    pub links: Registry,
    pub metrics: Arc<Metrics>,
    pub occupied: Occupied,
    pub executor: Executor,
    pub scheduler: Scheduler,
    pub waits: Arc<Waits>,
    pub upkeep: Box<dyn Upkeep>,
    pub config: Config,
    pub on_dead: Option<DeadHook>,
    pub seed: Option<u64>,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let catalog = &parts.store.catalog;
        let dead_before = catalog.stored_queues().into_iter().map(|queue| catalog.row(queue).tally.dead_total).sum();
        Self {
            opened: parts.time.now(),
            links: Arc::new(parts.links),
            store: parts.store,
            time: parts.time,
            prepare: parts.prepare,
            to_writer: parts.to_writer,
            bus: parts.bus,
            executor: parts.executor,
            metrics: parts.metrics,
            config: parts.config,
            occupied: parts.occupied,
            commit_turn: CommitTurn::default(),
            callers: Callers::default(),
            cancels: Cancels::default(),
            waits: parts.waits,
            alarm: Alarm::default(),
            expiries: Expiries::new(),
            schedule_times: ScheduleTimes::default(),
            flow_times: FlowTimes::default(),
            moved: Notify::new(),
            grown: Notify::new(),
            entry_ids: EntryIds::default(),
            own_steps: AtomicUsize::new(0),
            health: Health::default(),
            stop: StopState::default(),
            bindings: RwLock::default(),
            workers_dropped: Arc::default(),
            seeds: Seeds::new(parts.seed),
            #[cfg(feature = "wasm")]
            plugin_host: Default::default(),
            drained: Mutex::new([0, 0, dead_before]),
            upkeep: Mutex::new(parts.upkeep),
            on_dead: Mutex::new(parts.on_dead),
            scheduler: Mutex::new(parts.scheduler),
        }
    }

    pub fn scheduler(&self) -> Locked<'_> {
        let scheduler = self.scheduler.lock().unwrap_or_else(|e| e.into_inner());
        Locked { scheduler, _must_not_wait: MustNotWait::begin() }
    }

    pub(super) fn upkeep(&self) -> MutexGuard<'_, Box<dyn Upkeep>> {
        self.upkeep.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The application's hook for dead jobs, if it has one.
    pub(super) fn on_dead(&self) -> Option<DeadHook> {
        self.on_dead.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Drops the hook, which is not called any more. It may hold a handle of this very queue.
    pub(super) fn drop_on_dead(&self) {
        let hook = self.on_dead.lock().unwrap_or_else(|e| e.into_inner()).take();
        // Outside the lock, because dropping what the hook holds may run code of the application.
        drop(hook);
    }

    /// What runs around the attempts of all workers.
    pub fn middleware(&self) -> &Middleware {
        &self.config.middleware
    }

    pub fn now(&self) -> Now {
        self.time.now()
    }

    /// Tells the scheduler what a commit has changed. Returns true if the dispatcher should run.
    pub(super) fn apply(&self, changes: Vec<Change>) -> bool {
        let wakes = !changes.is_empty() && self.scheduler().apply(changes);
        self.moved.notify_waiters();
        wakes
    }

    /// 128 random bits.
    pub fn new_id(&self) -> u128 {
        self.seeds.id()
    }

    pub fn wake_dispatcher(&self) {
        self.alarm.wake();
    }

    /// Ready the next time that something changes: an attempt ends, a commit is made, the dispatcher has run.
    pub fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.has_begun()
    }

    /// Whether the file is closed: nothing happens any more.
    pub fn is_closed(&self) -> bool {
        self.stop.is_closed()
    }
}
