//! The engine: the state that all threads of an open queue share, and its configuration.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::alarm::Alarm;
use super::callers::Callers;
use super::commit::Commit;
use super::commit_turn::CommitTurn;
use super::expiry::Expiries;
use super::health::Health;
use super::log;
use super::maintenance::Upkeep;
use crate::error::Error;
use crate::error::panics::{Panic, Quiet};
use crate::events::{Event, EventBus};
use crate::executor::{Binding, Executor};
use crate::handler::{Inside, handler_here};
use crate::job::{Change, IdMap, JobId, QueueId};
use crate::metrics::Metrics;
use crate::scheduler::{Scheduler, WorkerLimits};
use crate::storage::{Batch, KnownQueue, Prepared, Store};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, MustNotWait, Mutex, MutexGuard, RwLock, RwLockReadGuard, thread};
use crate::time::{Now, TimeSource};
use crate::transaction::Prepare;
use crate::writer::control::Target;
use crate::writer::{Answer, Command, Enqueue, Occupied, Step, WaitingHandler, WriterSender, call};

/// A job that still runs after this long gets its start written: it costs a write that a job ending
/// before it saves.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(10);

/// What an operator is told when async handlers have lost their runtime.
const RUNTIME_ENDED: &str = "the async runtime in which the queue was opened has ended, and its async handlers cannot run any more: open the queue again in a runtime that lives as long as the queue, or give it one with `Builder::runtime`";

/// What the engine is set up with.
pub(crate) struct Config {
    pub linger: Duration,
    /// How long callers wait beside a guard.
    pub write_wait_max: Duration,
    pub verify_on_open: bool,
    pub compaction: bool,
    /// Longest result that is kept, in bytes.
    pub result_bytes_max: usize,
    /// It has no threads: somebody drives it by hand.
    pub stepped: bool,
}

/// Everything that is shared between the threads of one open queue.
pub(crate) struct Engine {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub prepare: Arc<dyn Prepare>,
    pub to_writer: WriterSender,
    pub bus: EventBus,
    pub executor: Executor,
    pub metrics: Arc<Metrics>,
    pub config: Config,
    /// Who keeps the writer from going on.
    pub(super) occupied: Occupied,
    pub(super) commit_turn: CommitTurn,
    pub(super) callers: Callers,
    pub(super) alarm: Alarm,
    pub(super) expiries: Expiries,
    /// Tells the threads that wait that something has changed: an attempt ended, a commit was made.
    pub(super) moved: Notify,
    /// Steps of the engine's own that the writer has not answered yet.
    pub(super) own_steps: AtomicUsize,
    health: RwLock<Health>,
    pub(super) stopping: AtomicBool,
    closed: AtomicBool,
    /// The same, for threads that wait for it.
    is_closed: Flag,
    /// A stop has dropped all workers and what they held.
    let_go: Arc<Flag>,
    given_up: AtomicBool,
    /// Milliseconds that the stop leaves for what need not be done.
    left_to_stop_ms: AtomicU64,
    upkeep: Mutex<Upkeep>,
    scheduler: Mutex<Scheduler>,
    bindings: RwLock<IdMap<Arc<Binding>, QueueId>>,
    next_seed: AtomicU64,
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
    pub limits: WorkerLimits,
}

/// The parts that an engine is made of.
pub(super) struct Parts {
    pub store: Arc<Store>,
    pub time: Arc<TimeSource>,
    pub prepare: Arc<dyn Prepare>,
    pub to_writer: WriterSender,
    pub bus: EventBus,
    pub metrics: Arc<Metrics>,
    pub occupied: Occupied,
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
            to_writer: parts.to_writer,
            bus: parts.bus,
            executor: parts.executor,
            metrics: parts.metrics,
            config: parts.config,
            occupied: parts.occupied,
            commit_turn: CommitTurn::default(),
            callers: Callers::default(),
            alarm: Alarm::default(),
            expiries: Expiries::new(),
            moved: Notify::new(),
            own_steps: AtomicUsize::new(0),
            health: RwLock::default(),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            is_closed: Flag::default(),
            let_go: Arc::default(),
            given_up: AtomicBool::new(false),
            left_to_stop_ms: AtomicU64::new(0),
            upkeep: Mutex::default(),
            scheduler: Mutex::new(parts.scheduler),
            bindings: RwLock::default(),
            next_seed: AtomicU64::new(parts.seed.unwrap_or_else(|| fastrand::u64(..))),
            #[cfg(feature = "wasm")]
            seed: parts.seed,
            #[cfg(feature = "wasm")]
            plugin_host: Default::default(),
            drained: Mutex::new([0, 0, dead_before]),
        }
    }

    pub fn scheduler(&self) -> Locked<'_> {
        let scheduler = self.scheduler.lock().unwrap_or_else(|e| e.into_inner());
        Locked { scheduler, _must_not_wait: MustNotWait::begin() }
    }

    pub fn now(&self) -> Now {
        self.time.now()
    }

    pub fn wake_dispatcher(&self) {
        self.alarm.wake();
    }

    fn health(&self) -> RwLockReadGuard<'_, Health> {
        self.health.read().unwrap_or_else(|e| e.into_inner())
    }

    /// What keeps the queue from doing its work, if anything does.
    pub fn degraded(&self) -> Option<String> {
        if let Err(forked) = self.store.check_process() {
            return Some(forked.to_string());
        }
        self.health().degraded()
    }

    /// Whether this process was forked from the one that has opened the queue. To be asked before any lock is taken by a call that
    /// cannot answer [`Error::Forked`].
    pub fn is_forked(&self) -> bool {
        self.store.check_process().is_err()
    }

    /// Runs `while_held` while this thread holds every lock that a call may take for a moment: for tests.
    pub fn with_locks_held(&self, while_held: impl FnOnce()) {
        let _bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        let _scheduler = self.scheduler();
        self.executor.running.with_lock_held(|| self.store.catalog.with_lock_held(while_held));
    }

    /// Why nothing can be written for now, if nothing can.
    pub fn unwritable(&self) -> Option<String> {
        self.health().unwritable.clone()
    }

    /// # Errors
    /// [`Error::Degraded`] if nothing can be written for now.
    pub fn check_writable(&self) -> Result<(), Error> {
        self.unwritable().map_or(Ok(()), |reason| Err(Error::Degraded { reason }))
    }

    pub(super) fn set_unwritable(&self, reason: Option<String>) {
        if reason.is_none() && self.has_given_up() {
            return;
        }
        self.health.write().unwrap_or_else(|e| e.into_inner()).unwritable = reason;
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
        let was_closed = self.closed.swap(true, Ordering::SeqCst);
        if !was_closed {
            // Before anybody who waits for the close may end the process.
            log::closed();
        }
        self.is_closed.raise();
        self.wake_dispatcher();
        self.moved.notify_waiters();
    }

    /// Blocks this thread until the file is closed, no longer than `at_most`. True if it is.
    pub(super) fn wait_until_closed(&self, at_most: Duration) -> bool {
        self.is_closed.wait(at_most)
    }

    /// Blocks this thread until a stop has dropped all workers, no longer than `at_most`. True if it has.
    pub(super) fn wait_until_let_go(&self, at_most: Duration) -> bool {
        self.let_go.wait(at_most)
    }

    /// The next time something moves: an attempt ends, a commit is made, the dispatcher has looked.
    pub fn moved(&self) -> tokio::sync::futures::Notified<'_> {
        self.moved.notified()
    }

    /// Looks at everything now, on the caller's thread.
    pub fn dispatch_now(self: &Arc<Self>) {
        super::dispatcher::run_once(self);
    }

    /// Nothing can start before the clock moves or a running handler returns.
    pub fn is_quiet(&self) -> bool {
        let now = self.now();
        self.writer_is_idle() && self.scheduler().is_quiet(now) && self.upkeep().is_quiet(self)
    }

    /// And nothing runs.
    pub fn is_idle(&self) -> bool {
        let now = self.now();
        // Under one lock: a handler that returns between two looks would be missed by both.
        let is_idle = |scheduler: &Scheduler| scheduler.is_quiet(now) && scheduler.running() == 0;
        self.writer_is_idle() && is_idle(&self.scheduler()) && self.upkeep().is_quiet(self)
    }

    /// Nothing waits for the writer, and it has answered every step of the engine's own.
    fn writer_is_idle(&self) -> bool {
        self.to_writer.is_empty() && self.own_steps.load(Ordering::SeqCst) == 0
    }

    /// The next random number of this engine's seed, from 0 up to 1.
    pub(super) fn random(&self) -> f64 {
        self.rng().f64()
    }

    /// The next numbers of this engine's seed.
    pub(super) fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.next_seed.fetch_add(1, Ordering::Relaxed))
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
            let bytes = jobs.iter().map(|job| job.bytes.len()).sum();
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
        let is_ours = executor == self.executor.running.identity();
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

    /// Has `write` done in the writer's batch, on behalf of a caller. What it holds is small: see [`Self::change_with`].
    pub fn change<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        self.change_with(0, write)
    }

    /// [`Self::change`] for a `write` that holds a payload of so many bytes, which count as what waits for the writer.
    pub fn change_with<T: Send + 'static>(
        self: &Arc<Self>,
        bytes: usize,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) = call(write);
            engine.answered(step, bytes, answer).await
        })
    }

    /// [`Self::change`] for a `write` that moves many jobs.
    pub fn change_in_bulk<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnMut(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            let (step, answer) = call(write);
            engine.answered(step.in_bulk(), 0, answer).await
        })
    }

    /// [`Self::change`] for one waiting job: the dispatcher keeps its hands off it meanwhile.
    /// It is searched for here, because the writer has no time for that. `write` holds a payload of so many `bytes`.
    pub fn change_waiting<T: Send + 'static>(
        self: &Arc<Self>,
        id: JobId,
        bytes: usize,
        mut write: impl FnMut(&mut Batch<'_>, Target) -> Result<T, Error> + Send + 'static,
    ) -> Commit<T> {
        let engine = self.clone();
        Commit::new(async move {
            engine.store.check_process()?;
            let queue = engine.queue_of(id);
            let withdrawer = engine.clone();
            let (step, answer) = call(move |batch: &mut Batch<'_>| {
                let is_taken = !withdrawer.scheduler().withdraw(id);
                write(batch, Target { id, queue, is_taken })
            });
            let reinstater = engine.clone();
            let step = step.then(move || {
                reinstater.scheduler().reinstate(id);
                reinstater.wake_dispatcher();
            });
            engine.answered(step, bytes, answer).await
        })
    }

    /// Has the writer do this, and waits for what it says.
    async fn answered<T>(self: &Arc<Self>, step: Box<dyn Step>, bytes: usize, answer: Answer<T>) -> Result<T, Error> {
        self.submit(step, bytes).await?;
        self.note_damage(answer.await.map_err(|_| self.unanswered())?)
    }

    fn queue_of(&self, id: JobId) -> KnownQueue {
        let searched = self.store.reader().and_then(|reader| Ok(reader.queue_of(&self.store.catalog, id)?));
        searched.unwrap_or_else(|error| {
            tracing::debug!(job = %id, %error, "the writer has to search for a job");
            KnownQueue::NotSearched
        })
    }

    pub async fn submit(self: &Arc<Self>, step: Box<dyn Step>, bytes: usize) -> Result<(), Error> {
        self.store.check_process()?;
        self.check_writable()?;
        match self.commit_on_this_thread(Command::Step(step)) {
            Ok(()) => Ok(()),
            Err(command) => self.to_writer.submit(command, bytes).await,
        }
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
        self.set_unwritable(Some(reason.clone()));
        self.given_up.store(true, Ordering::SeqCst);
        self.bus.publish([Event::Degraded { reason: reason.clone() }]);
        self.moved.notify_waiters();
        reason
    }

    pub fn has_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }

    /// What to tell a caller whose answer was dropped: the file was closed before the command was reached, or a panic
    /// has taken the command with it.
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
        for (queue, job) in suspects {
            if !reader.is_as_taken(queue, &job)? {
                gone.push(job.id);
            }
        }
        Ok(gone)
    }

    /// The file can be written again: dispatch goes on, from what the file says.
    pub(super) fn resume(&self, suspects_gone: &[JobId]) {
        let catalog = &self.store.catalog;
        let queues = catalog.stored_queues().into_iter().map(|id| (id, catalog.row(id).paused));
        self.scheduler().resume(queues, suspects_gone);
        self.expiries.look_again();
        self.set_unwritable(None);
    }

    // --- workers ------------------------------------------------------------------------------

    /// Gives a queue its worker. The binding is what the worker is known by from then on.
    pub fn bind(&self, queue: QueueId, worker: WorkerConfig) -> Result<Weak<Binding>, Error> {
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if worker.binding.needs_runtime() && self.runtime_ended().is_some() {
            return Err(Error::RuntimeEnded);
        }
        if bindings.contains_key(&queue) {
            return Err(Error::WorkerExists { queue: self.store.catalog.queue_name(queue).to_string() });
        }
        let binding = Arc::new(worker.binding);
        let known_by = Arc::downgrade(&binding);
        bindings.insert(queue, binding);
        self.scheduler().open_queue(queue, worker.limits, self.now());
        drop(bindings);
        #[cfg(feature = "wasm")]
        self.upkeep().plugin_watch.add(&known_by);
        self.wake_dispatcher();
        Ok(known_by)
    }

    /// Takes a queue's worker away. False if the queue has none or another one by now.
    pub fn unbind(&self, queue: QueueId, worker: &Weak<Binding>) -> bool {
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        let is_bound = bindings.get(&queue).is_some_and(|binding| is_same(binding, worker));
        if is_bound {
            self.close_queue(queue);
            let binding = bindings.remove(&queue);
            // Handlers may hold the last handle of this queue: drop them outside the lock.
            drop(bindings);
            drop(binding);
        }
        is_bound
    }

    /// Before the worker is dropped, and with it the use of the queue's number.
    fn close_queue(&self, queue: QueueId) {
        let is_stored = self.store.catalog.is_stored(queue);
        let mut scheduler = self.scheduler();
        scheduler.close_queue(queue);
        if !is_stored {
            scheduler.forget_queue(queue);
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

    /// All workers.
    pub(super) fn workers(&self) -> Vec<(QueueId, Arc<Binding>)> {
        let bindings = self.bindings.read().unwrap_or_else(|e| e.into_inner());
        bindings.iter().map(|(queue, binding)| (*queue, binding.clone())).collect()
    }

    pub fn has_worker(&self, queue: QueueId) -> bool {
        self.binding(queue).is_some()
    }

    /// Why async handlers cannot run any more, if they cannot.
    pub fn runtime_ended(&self) -> Option<&'static str> {
        self.health().runtime_ended
    }

    /// The async runtime has ended, which the application has given the queue or has opened it in. Workers that need it
    /// are taken away: what they would start would be lost at once. All else goes on.
    pub(super) fn note_runtime_ended(&self) {
        if self.is_stopping() {
            return;
        }
        let known = {
            let mut health = self.health.write().unwrap_or_else(|e| e.into_inner());
            health.runtime_ended.replace(RUNTIME_ENDED).is_some()
        };
        if known {
            return;
        }
        tracing::error!(reason = RUNTIME_ENDED, "degraded: async handlers cannot run any more");
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        let ended: Vec<_> = bindings.extract_if(|_, binding| binding.needs_runtime()).collect();
        for (queue, _) in &ended {
            self.close_queue(*queue);
        }
        // Handlers may hold the last handle of this queue: drop them outside the lock.
        drop(bindings);
        drop(ended);
        self.bus.publish([Event::Degraded { reason: RUNTIME_ENDED.to_owned() }]);
    }

    /// Takes all workers away. What they hold is dropped on a thread of its own, because that runs code of the application, and
    /// a caller that stops the queue waits for it no longer than it has said.
    pub(super) fn unbind_all(&self) {
        let workers = std::mem::take(&mut *self.bindings.write().unwrap_or_else(|e| e.into_inner()));
        let needs_thread = !workers.is_empty() && !self.config.stepped;
        let let_go = LetGo { workers: Quiet::new(workers), told: self.let_go.clone() };
        if needs_thread {
            // Without a thread it is dropped here.
            let _ = thread::Builder::new().name("millpond-let-go".into()).spawn(move || drop(let_go));
        }
    }
}

/// Workers that a stop has taken away.
struct LetGo {
    workers: Quiet<IdMap<Arc<Binding>, QueueId>>,
    told: Arc<Flag>,
}

impl Drop for LetGo {
    fn drop(&mut self) {
        // Handlers may hold the last handle of this very queue, or wait for it, and find it closed.
        drop(std::mem::replace(&mut self.workers, Quiet::new(IdMap::default())));
        self.told.raise();
    }
}

/// Something that happens once, for threads that wait for it.
#[derive(Default)]
struct Flag {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Flag {
    fn raise(&self) {
        *self.raised.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.changed.notify_all();
    }

    /// Blocks this thread until it has happened, no longer than `at_most`. True if it has.
    fn wait(&self, at_most: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(|e| e.into_inner());
        let waited = self.changed.wait_timeout_while(raised, at_most, |raised| !*raised);
        *waited.unwrap_or_else(|e| e.into_inner()).0
    }
}

/// The scheduler, for as long as nobody else may have it. Whoever has it must not wait for the queue: the writer needs it.
pub(crate) struct Locked<'a> {
    scheduler: MutexGuard<'a, Scheduler>,
    _must_not_wait: MustNotWait,
}

impl Deref for Locked<'_> {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Scheduler {
        &mut self.scheduler
    }
}

fn is_same(binding: &Arc<Binding>, worker: &Weak<Binding>) -> bool {
    std::ptr::eq(Arc::as_ptr(binding), worker.as_ptr())
}

/// Queue, kind and bytes of each job.
fn describe(engine: &Engine, jobs: &[Prepared]) -> Vec<(Arc<str>, Arc<str>, usize)> {
    let describe = |job: &Prepared| {
        let (queue, kind) = job.queue_and_kind(&engine.store.catalog);
        (queue, kind, job.bytes.len())
    };
    jobs.iter().map(describe).collect()
}

/// In the caller's span, if it has one: by a job's id its log lines are found beside those of the handler.
fn log_enqueued(ids: &[JobId], jobs: impl Iterator<Item = (Arc<str>, Arc<str>, usize)>) {
    for (id, (queue, kind, bytes)) in ids.iter().zip(jobs) {
        tracing::debug!(id = id.get(), queue = &*queue, kind = &*kind, bytes, "enqueued");
    }
}
