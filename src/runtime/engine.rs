use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::alarm::Alarm;
use super::callers::Callers;
use super::commit::Commit;
use super::maintenance::Upkeep;
use super::pen::Pen;
use crate::error::Error;
use crate::error::panics::Panic;
use crate::events::{Event, EventBus};
use crate::executor::{Binding, Executor};
use crate::handler::{Inside, handler_here};
use crate::job::{Change, IdMap, JobId, QueueId};
use crate::metrics::Metrics;
use crate::scheduler::{LaneSettings, Scheduler};
use crate::storage::{Batch, Prepared, Store};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, RwLock};
use crate::time::{Now, TimeSource};
use crate::transaction::Prepare;
use crate::writer::{Command, Enqueue, Inbox, Step, WaitingHandler, call};
use crate::writer::{ENQUEUE_BYTES_MAX, ENQUEUE_JOBS_MAX};

/// A job that still runs after this long gets its start written: it costs a write that a job ending
/// before it saves.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(10);

/// What the engine is set up with.
pub(crate) struct Config {
    pub linger: Duration,
    pub verify_on_open: bool,
    pub compaction: bool,
    /// It has no threads: somebody drives it by hand.
    #[cfg(feature = "wasm")]
    pub stepped: bool,
}

/// Everything that is shared between the threads of one open queue.
pub(crate) struct Engine {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub prepare: Arc<dyn Prepare>,
    pub inbox: Inbox,
    pub bus: EventBus,
    pub executor: Executor,
    pub metrics: Metrics,
    pub config: Config,
    pub(super) pen: Pen,
    pub(super) callers: Callers,
    pub(super) alarm: Alarm,
    /// Tells whoever waits that something has moved: an attempt ended, a commit was made.
    pub(super) moved: Notify,
    pub(super) health: RwLock<Option<String>>,
    pub(super) stopping: AtomicBool,
    closed: AtomicBool,
    given_up: AtomicBool,
    /// Milliseconds that the stop leaves for what need not be done.
    left_to_stop_ms: AtomicU64,
    upkeep: Mutex<Upkeep>,
    scheduler: Mutex<Scheduler>,
    bindings: RwLock<IdMap<Arc<Binding>, QueueId>>,
    luck: AtomicU64,
    /// The one that it was given.
    #[cfg(feature = "wasm")]
    pub(super) seed: Option<u64>,
    #[cfg(feature = "wasm")]
    pub(super) plugin_host: std::sync::OnceLock<Arc<crate::executor::Host>>,
    /// What the last `testing::drain` had seen: completed and failed attempts, dead jobs.
    pub drained: Mutex<[u64; 3]>,
}

/// What a worker brings along.
pub(crate) struct WorkerConfig {
    pub binding: Binding,
    pub lane: LaneSettings,
}

/// The parts that an engine is made of.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub prepare: Arc<dyn Prepare>,
    pub inbox: Inbox,
    pub bus: EventBus,
    pub executor: Executor,
    pub scheduler: Scheduler,
    pub config: Config,
    pub seed: Option<u64>,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        let catalog = &parts.store.catalog;
        let dead_before = catalog.stored_queues().into_iter().map(|queue| catalog.row(queue).tally.dead_total).sum();
        Self {
            store: parts.store,
            time: parts.time,
            prepare: parts.prepare,
            inbox: parts.inbox,
            bus: parts.bus,
            executor: parts.executor,
            metrics: Metrics::default(),
            config: parts.config,
            pen: Pen::default(),
            callers: Callers::default(),
            alarm: Alarm::default(),
            moved: Notify::new(),
            health: RwLock::default(),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            left_to_stop_ms: AtomicU64::new(0),
            upkeep: Mutex::default(),
            scheduler: Mutex::new(parts.scheduler),
            bindings: RwLock::default(),
            luck: AtomicU64::new(parts.seed.unwrap_or_else(|| fastrand::u64(..))),
            #[cfg(feature = "wasm")]
            seed: parts.seed,
            #[cfg(feature = "wasm")]
            plugin_host: Default::default(),
            drained: Mutex::new([0, 0, dead_before]),
        }
    }

    pub fn scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn now(&self) -> Now {
        self.time.now()
    }

    pub fn wake_dispatcher(&self) {
        self.alarm.ring();
    }

    /// The error that stopped the writer, if one did.
    pub fn degraded(&self) -> Option<String> {
        self.health.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn set_health(&self, degraded: Option<String>) {
        *self.health.write().unwrap_or_else(|e| e.into_inner()) = degraded;
    }

    pub(super) fn upkeep(&self) -> MutexGuard<'_, Upkeep> {
        self.upkeep.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(super) fn left_to_stop(&self) -> Duration {
        Duration::from_millis(self.left_to_stop_ms.load(Ordering::SeqCst))
    }

    pub(super) fn set_left_to_stop(&self, left: Duration) {
        self.left_to_stop_ms.store(u64::try_from(left.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// The file is closed: nothing happens any more.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn set_closed(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake_dispatcher();
        self.moved.notify_waiters();
    }

    /// The next time something moves: an attempt ends, a commit is made, the dispatcher has looked.
    pub fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// Looks at everything now, on the caller's thread.
    pub fn turn_now(self: &Arc<Self>) {
        super::dispatcher::turn(self);
    }

    /// Nothing can start before the clock moves or a running handler returns.
    pub fn is_settled(&self) -> bool {
        let now = self.now();
        self.inbox.is_empty() && self.scheduler().is_settled(now)
    }

    /// And nothing runs.
    pub fn is_idle(&self) -> bool {
        let now = self.now();
        // Under one lock: a handler that returns between two looks would be missed by both.
        let is_idle = |scheduler: &Scheduler| scheduler.is_settled(now) && scheduler.running() == 0;
        self.inbox.is_empty() && is_idle(&self.scheduler())
    }

    /// The next random number of this engine's seed, from 0 up to 1.
    pub(super) fn luck(&self) -> f64 {
        self.random().f64()
    }

    /// The next numbers of this engine's seed.
    pub(super) fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.luck.fetch_add(1, Ordering::Relaxed))
    }

    // --- writing ------------------------------------------------------------------------------

    /// Stores jobs in one commit and answers with their ids.
    pub fn enqueue(self: &Arc<Self>, jobs: Result<Vec<Prepared>, Error>) -> Commit<Vec<JobId>> {
        let engine = self.clone();
        Commit::new(async move {
            let jobs = jobs?;
            let count = jobs.len() as u64;
            if count == 0 {
                return Ok(Vec::new());
            }
            let bytes = check_size(&jobs)?;
            let told = tracing::enabled!(tracing::Level::DEBUG).then(|| describe(&engine, &jobs));
            let (reply, answer) = oneshot::channel();
            let handler = handler_here().map(|inside| engine.waiting_handler(inside));
            engine.submit(Enqueue::new(jobs, reply).for_handler(handler), bytes).await?;
            let ids = answer.await.map_err(|_| engine.unanswered())??.list(count);
            log_enqueued(&ids, told.into_iter().flatten());
            Ok(ids)
        })
    }

    /// How a handler may wait for room in a full queue, for which it is polled now.
    fn waiting_handler(&self, inside: Inside) -> WaitingHandler {
        let Inside { executor, queue, blocking } = inside;
        let is_ours = executor == self.executor.runs.identity();
        // An async handler that blocks its thread may keep those that would make room from running.
        let blocks_the_runtime = !blocking && super::commit::is_blocked();
        let (max_running, blocking_threads) = self.scheduler().limits();
        WaitingHandler {
            queue: (is_ours && !blocks_the_runtime).then_some(queue),
            blocking,
            most: max_running / 2,
            most_blocking: blocking_threads / 2,
        }
    }

    /// Has `write` done in the writer's batch, on behalf of a caller.
    pub fn change<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) = call(write);
            engine.submit(step, 0).await?;
            engine.note_damage(answer.await.map_err(|_| engine.unanswered())?)
        })
    }

    /// [`Self::change`] for one waiting job: the dispatcher keeps its hands off it meanwhile.
    /// `write` is told whether a handler has it already.
    pub fn change_waiting<T: Send + 'static>(
        self: &Arc<Self>,
        id: JobId,
        mut write: impl FnMut(&mut Batch<'_>, bool) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let withdrawer = engine.clone();
            let (step, answer) = call(move |batch: &mut Batch<'_>| {
                let taken = !withdrawer.scheduler().withdraw(id);
                write(batch, taken)
            });
            let reinstater = engine.clone();
            let step = step.then(move || {
                reinstater.scheduler().reinstate(id);
                reinstater.wake_dispatcher();
            });
            engine.submit(step, 0).await?;
            engine.note_damage(answer.await.map_err(|_| engine.unanswered())?)
        })
    }

    pub async fn submit(self: &Arc<Self>, step: Box<dyn Step>, bytes: usize) -> Result<(), Error> {
        if let Some(reason) = self.degraded() {
            return Err(Error::Degraded { reason });
        }
        match self.lead(Command::Step(step)) {
            Ok(()) => Ok(()),
            Err(command) => self.inbox.submit(command, bytes).await,
        }
    }

    /// Has `write` done in the writer's batch, on the engine's own behalf; `after` hears how it went.
    pub(super) fn internally<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
        after: impl FnOnce(&Arc<Self>, Result<T, Error>) + Send + 'static,
    ) {
        let (step, answer) = call(write);
        let engine = self.clone();
        self.inbox.send(Command::Step(step));
        self.executor.tasks().spawn(async move {
            let result = answer.await.unwrap_or(Err(Error::Closed));
            after(&engine, result);
        });
    }

    /// Tells dispatch what a commit has changed. True if it is to look at it.
    pub(super) fn apply(&self, changes: Vec<Change>) -> bool {
        let looks = !changes.is_empty() && self.scheduler().apply(changes);
        self.moved.notify_waiters();
        looks
    }

    /// A thread of ours has panicked: nothing starts and nothing is taken in until the process opens the
    /// file anew. Returns the reason that everybody is told.
    pub(super) fn give_up(&self, who: &str, panic: &Panic) -> String {
        let reason = format!("{who} panicked: {}; close the file, check it and open it again", panic.text());
        tracing::error!(reason, "degraded for good");
        self.scheduler().suspend();
        self.set_health(Some(reason.clone()));
        self.given_up.store(true, Ordering::SeqCst);
        self.bus.publish([Event::Degraded { reason: reason.clone() }]);
        self.moved.notify_waiters();
        reason
    }

    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    /// What to tell a caller whose answer was dropped: the file was closed before his turn, or a panic
    /// has taken his command with it.
    pub fn unanswered(&self) -> Error {
        if self.is_stopping() || self.is_closed() {
            return Error::Closed;
        }
        Error::OutcomeUnknown { source: "the writer gave up on the file in the middle of it".into() }
    }

    /// Suspects of a crash that are not where they were, after the file was opened again.
    pub(super) fn suspects_gone(&self) -> Result<Vec<JobId>, Error> {
        let reader = self.store.reader()?;
        let mut gone = Vec::new();
        let suspects = self.scheduler().suspects();
        for (queue, entry) in suspects {
            if !reader.is_as_taken(queue, &entry)? {
                gone.push(entry.id);
            }
        }
        Ok(gone)
    }

    /// The file can be written again: dispatch goes on, from what the file says.
    pub(super) fn resume(&self, suspects_gone: &[JobId]) {
        let catalog = &self.store.catalog;
        let queues = catalog.stored_queues().into_iter().map(|id| (id, catalog.row(id).paused));
        self.scheduler().resume(queues, suspects_gone);
        self.set_health(None);
    }

    // --- workers ------------------------------------------------------------------------------

    /// Gives a queue its worker. The binding is what the worker is known by from then on.
    pub fn bind(&self, queue: QueueId, worker: WorkerConfig) -> Result<Weak<Binding>, Error> {
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if bindings.contains_key(&queue) {
            return Err(Error::WorkerExists { queue: self.store.catalog.queue_name(queue).to_string() });
        }
        let binding = Arc::new(worker.binding);
        let known_by = Arc::downgrade(&binding);
        let blocking_kinds = binding.blocking_kinds();
        bindings.insert(queue, binding);
        {
            let mut scheduler = self.scheduler();
            scheduler.set_blocking_kinds(queue, blocking_kinds);
            scheduler.open_lane(queue, worker.lane, self.now());
        }
        drop(bindings);
        #[cfg(feature = "wasm")]
        self.upkeep().plugin_watch.add(&known_by);
        self.wake_dispatcher();
        Ok(known_by)
    }

    /// Takes a queue's worker away, if it is still that one.
    pub fn unbind(&self, queue: QueueId, worker: &Weak<Binding>) {
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        if bindings.get(&queue).is_some_and(|binding| is_same(binding, worker)) {
            self.scheduler().close_lane(queue);
            let binding = bindings.remove(&queue);
            // Handlers may hold the last handle of this very queue: let go of them outside the lock.
            drop(bindings);
            drop(binding);
        }
    }

    /// Changes the slots of a queue's worker. False if it is not that one any more.
    pub fn set_concurrency(&self, queue: QueueId, worker: &Weak<Binding>, jobs: usize) -> bool {
        let bindings = self.bindings.read().unwrap_or_else(|e| e.into_inner());
        let current = bindings.get(&queue).is_some_and(|binding| is_same(binding, worker));
        if current {
            self.scheduler().set_concurrency(queue, jobs);
            self.wake_dispatcher();
        }
        current
    }

    /// The worker of a queue, if it has one.
    pub(super) fn binding(&self, queue: QueueId) -> Option<Arc<Binding>> {
        self.bindings.read().unwrap_or_else(|e| e.into_inner()).get(&queue).cloned()
    }

    pub(super) fn unbind_all(&self) {
        let bindings = std::mem::take(&mut *self.bindings.write().unwrap_or_else(|e| e.into_inner()));
        // Handlers may hold the last handle of this very queue: let go of them outside the lock.
        drop(bindings);
    }
}

fn is_same(binding: &Arc<Binding>, worker: &Weak<Binding>) -> bool {
    std::ptr::eq(Arc::as_ptr(binding), worker.as_ptr())
}

/// Queue, kind and bytes of each job.
fn describe(engine: &Engine, jobs: &[Prepared]) -> Vec<(Arc<str>, Arc<str>, usize)> {
    let catalog = &engine.store.catalog;
    let described =
        jobs.iter().map(|job| (catalog.queue_name(job.queue), catalog.kind_name(job.record().kind), job.bytes.len()));
    described.collect()
}

/// In the caller's span, if it has one: by a job's id its log lines are found beside those of the handler.
fn log_enqueued(ids: &[JobId], jobs: impl Iterator<Item = (Arc<str>, Arc<str>, usize)>) {
    for (id, (queue, kind, bytes)) in ids.iter().zip(jobs) {
        tracing::debug!(id = id.get(), queue = &*queue, kind = &*kind, bytes, "enqueued");
    }
}

fn check_size(jobs: &[Prepared]) -> Result<usize, Error> {
    let bytes = jobs.iter().map(|job| job.bytes.len()).sum();
    if jobs.len() > ENQUEUE_JOBS_MAX || (jobs.len() > 1 && bytes > ENQUEUE_BYTES_MAX) {
        return Err(Error::BatchTooLarge {
            jobs: jobs.len(),
            bytes,
            jobs_max: ENQUEUE_JOBS_MAX,
            bytes_max: ENQUEUE_BYTES_MAX,
        });
    }
    Ok(bytes)
}
