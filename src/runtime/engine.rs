use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::commit::Commit;
use super::dispatcher::Alarm;
use super::maintenance::Upkeep;
use crate::error::Error;
use crate::events::EventBus;
use crate::executor::{Binding, Executor, Finished, Plan, Running};
use crate::handler::CompleteHook;
use crate::job::{Attempt, BucketKey, BucketState, Change, Ending, JobId, Next, QueueId, after};
use crate::metrics::Metrics;
use crate::scheduler::{LaneSettings, RunId, Scheduler, Start};
use crate::storage::{Batch, Mark, Prepared, Store};
use crate::time::{Now, TimeSource};
use crate::transaction::Prepare;
use crate::writer::{Command, Enqueue, Finish, HoldBack, Inbox, MarkStarts, More, Retried, Step, call};
use crate::writer::{ENQUEUE_BYTES_MAX, ENQUEUE_JOBS_MAX};

/// Jobs handed out at one look at the scheduler, so that its lock is never held for long.
const STARTS_AT_ONCE: usize = 64;

/// A job that still runs after this long gets its start written: it costs a write that a job ending
/// before it saves.
pub(super) const MARK_AFTER: Duration = Duration::from_millis(10);

/// What the engine is set up with.
pub(crate) struct Config {
    pub linger: Duration,
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
    pub(super) alarm: Alarm,
    /// Tells whoever waits that something has moved: an attempt ended, a commit was made.
    pub(super) moved: Notify,
    pub(super) health: RwLock<Option<String>>,
    pub(super) stopping: AtomicBool,
    closed: AtomicBool,
    upkeep: Mutex<Upkeep>,
    scheduler: Mutex<Scheduler>,
    bindings: RwLock<HashMap<QueueId, Arc<Binding>>>,
    luck: AtomicU64,
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
    pub seed: u64,
}

impl Engine {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            store: parts.store,
            time: parts.time,
            prepare: parts.prepare,
            inbox: parts.inbox,
            bus: parts.bus,
            executor: parts.executor,
            metrics: Metrics::default(),
            config: parts.config,
            alarm: Alarm::default(),
            moved: Notify::new(),
            health: RwLock::default(),
            stopping: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            upkeep: Mutex::default(),
            scheduler: Mutex::new(parts.scheduler),
            bindings: RwLock::default(),
            luck: AtomicU64::new(parts.seed),
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
        self.is_settled() && self.scheduler().running() == 0
    }

    /// The next random number of this engine's seed, from 0 up to 1.
    fn luck(&self) -> f64 {
        let seed = self.luck.fetch_add(1, Ordering::Relaxed);
        fastrand::Rng::with_seed(seed).f64()
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
            if tracing::enabled!(tracing::Level::DEBUG) {
                log_enqueue(&engine, &jobs);
            }
            let (reply, answer) = oneshot::channel();
            engine.submit(Enqueue::new(jobs, reply), bytes).await?;
            let first: JobId = answer.await.map_err(|_| Error::Closed)??;
            Ok((0..count).map(|n| JobId::new(first.get() + n)).collect())
        })
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
            answer.await.map_err(|_| Error::Closed)?
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
            answer.await.map_err(|_| Error::Closed)?
        })
    }

    pub async fn submit(&self, step: Box<dyn Step>, bytes: usize) -> Result<(), Error> {
        if let Some(reason) = self.degraded() {
            return Err(Error::Degraded { reason });
        }
        self.inbox.submit(Command::Step(step), bytes).await
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
        self.executor.runtime().spawn(async move {
            let result = answer.await.unwrap_or(Err(Error::Closed));
            after(&engine, result);
        });
    }

    /// Tells dispatch what a commit has changed.
    pub(super) fn apply(&self, changes: Vec<Change>) {
        if !changes.is_empty() && self.scheduler().apply(changes) {
            self.wake_dispatcher();
        }
        self.moved.notify_waiters();
    }

    // --- workers ------------------------------------------------------------------------------

    pub fn bind(&self, queue: QueueId, worker: WorkerConfig) -> Result<(), Error> {
        let mut bindings = self.bindings.write().unwrap_or_else(|e| e.into_inner());
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        if bindings.contains_key(&queue) {
            return Err(Error::WorkerExists { queue: self.store.catalog.queue_name(queue).to_string() });
        }
        bindings.insert(queue, Arc::new(worker.binding));
        self.scheduler().open_lane(queue, worker.lane, self.now());
        drop(bindings);
        self.wake_dispatcher();
        Ok(())
    }

    pub fn unbind(&self, queue: QueueId) {
        self.scheduler().close_lane(queue);
        self.bindings.write().unwrap_or_else(|e| e.into_inner()).remove(&queue);
    }

    pub(super) fn unbind_all(&self) {
        let bindings = std::mem::take(&mut *self.bindings.write().unwrap_or_else(|e| e.into_inner()));
        // Handlers may hold the last handle of this very queue: let go of them outside the lock.
        drop(bindings);
    }

    // --- starting -----------------------------------------------------------------------------

    /// Starts what may start now. Called by the dispatcher, and by whoever has just freed a slot.
    pub(super) fn pump(self: &Arc<Self>) {
        loop {
            let now = self.now();
            let mut starts = Vec::new();
            let restless = {
                let mut scheduler = self.scheduler();
                scheduler.starts(now, STARTS_AT_ONCE, &mut starts);
                scheduler.is_restless()
            };
            let full = starts.len() == STARTS_AT_ONCE;
            for start in starts {
                self.launch(start, now);
            }
            if restless {
                self.wake_dispatcher();
            }
            if !full {
                return;
            }
        }
    }

    fn launch(self: &Arc<Self>, start: Start, now: Now) {
        let binding = self.bindings.read().unwrap_or_else(|e| e.into_inner()).get(&start.queue).cloned();
        let Some(binding) = binding else { return self.give_back(start) };
        let record = &start.entry.record;
        let extra = record.extra.as_deref();
        let max = extra.and_then(|extra| extra.max_attempts).unwrap_or(binding.retry.attempts());
        let timeout = extra.and_then(|extra| extra.timeout).or(binding.timeout);
        let attempt = Attempt { number: record.attempts.saturating_add(1), max, started_at: now.wall };
        let Start { run, queue, entry: taken, commit_first, alone } = start;
        let plan = Plan { run, queue, taken, attempt, binding, timeout, alone, started: now };
        if commit_first { self.mark_then_run(plan) } else { self.run(plan) }
    }

    fn run(self: &Arc<Self>, plan: Plan) {
        let engine = self.clone();
        self.metrics.started();
        let sooner = self.executor.start(plan, move |finished| engine.land(finished));
        if sooner {
            self.wake_dispatcher();
        }
    }

    /// The start is made durable first: if this job kills the process, that will be known.
    fn mark_then_run(self: &Arc<Self>, plan: Plan) {
        let engine = self.clone();
        let mark = (plan.run.job, mark(&plan));
        self.scheduler().marked(plan.run);
        let then = Box::new(move |result: Result<(), Error>| match result {
            Ok(()) => engine.run(plan),
            Err(_) => {
                let Plan { run, queue, taken: entry, alone, .. } = plan;
                engine.give_back(Start { run, queue, entry, commit_first: true, alone });
            }
        });
        self.inbox.send(Command::Mark(MarkStarts::before(vec![mark], then)));
    }

    /// A job that was handed out and did not start.
    fn give_back(self: &Arc<Self>, start: Start) {
        let mut scheduler = self.scheduler();
        if scheduler.landed(start.run) {
            scheduler.apply([Change::Returned { entry: start.entry }]);
        }
    }

    pub(super) fn quarantine(self: &Arc<Self>, queue: QueueId, ids: Vec<JobId>) {
        self.metrics.quarantined(ids.len() as u64);
        let write = move |batch: &mut Batch<'_>| crate::writer::upkeep::quarantine(batch, queue, &ids);
        self.internally(write, |_, result| {
            if let Err(error) = result {
                tracing::error!(%error, "records could not be set aside");
            }
        });
    }

    // --- ending -------------------------------------------------------------------------------

    /// An attempt has ended: its slot is free for the next, its end goes to the writer.
    fn land(self: &Arc<Self>, finished: Finished) {
        let Finished { running, ending } = finished;
        let now = self.now();
        let mut starts = Vec::new();
        let restless = {
            let mut scheduler = self.scheduler();
            if !scheduler.landed(running.plan.run) {
                tracing::debug!(job = %running.plan.run.job, "the outcome of an attempt that was given up came too late");
                return;
            }
            // Told to slow down: not before that is known may anything start.
            let held = matches!(ending, Ending::RateLimited(_));
            if !held {
                scheduler.starts(now, STARTS_AT_ONCE, &mut starts);
            }
            held || starts.len() == STARTS_AT_ONCE || scheduler.is_restless()
        };
        self.metrics.ended(&ending);
        self.finish(&running, ending, now);
        for start in starts {
            self.launch(start, now);
        }
        if restless {
            self.wake_dispatcher();
        }
        self.moved.notify_waiters();
    }

    /// Says what follows and has it written.
    fn finish(&self, running: &Running, ending: Ending, now: Now) {
        let plan = &running.plan;
        let hooks = match ending {
            Ending::Done(_) => running.attempted.take_hooks(),
            _ => Vec::new(),
        };
        let (next, more) = match ending {
            Ending::Done(None) if hooks.is_empty() => (Next::Complete, None),
            ending => {
                let (next, more) = self.decide(plan, ending, hooks, now);
                (next, Some(Box::new(more)))
            }
        };
        log_ending(running, next);
        let took = now.mono.saturating_sub(plan.started.mono);
        let (queue, taken, attempt) = (plan.queue, plan.taken.clone(), plan.attempt);
        self.inbox.send(Command::Finish(Finish { queue, taken, next, attempt, took, more }));
    }

    fn decide(&self, plan: &Plan, ending: Ending, hooks: Vec<CompleteHook>, now: Now) -> (Next, More) {
        let luck = self.luck();
        let retry = &plan.binding.retry;
        let retried = (!hooks.is_empty()).then(|| Retried { retry: retry.clone(), now, luck });
        let hold = match ending {
            Ending::RateLimited(delay) => Some(self.hold_back(plan, delay, now)),
            _ => None,
        };
        let mut record = plan.taken.record.clone();
        let next = after(&mut record, plan.attempt, ending, retry, now, luck);
        (next, More { record, hooks, retried, hold })
    }

    fn hold_back(&self, plan: &Plan, delay: Duration, now: Now) -> HoldBack {
        let key = BucketKey { queue: plan.queue, group: plan.taken.group().cloned() };
        let until = Now { wall: now.wall + delay, engine: now.engine + delay, mono: now.mono.saturating_add(delay) };
        let mut scheduler = self.scheduler();
        let tokens = scheduler.tokens(&key, now);
        let state = BucketState {
            tokens: if tokens.is_finite() { tokens } else { 0.0 },
            at: now.engine,
            held_until: Some(until.engine),
        };
        // At once, or the next one starts before the commit.
        scheduler.apply([Change::Limited { key: key.clone(), until }]);
        HoldBack { key, until, state, delay }
    }

    /// Ends that never began: their expiry has passed.
    pub(super) fn expire(self: &Arc<Self>, start: Start) {
        let now = self.now();
        let mut record = start.entry.record.clone();
        let attempt = Attempt { number: record.attempts, max: u32::MAX, started_at: now.wall };
        let next = after(&mut record, attempt, Ending::Expired, &Default::default(), now, 0.0);
        let more = Some(Box::new(More { record, hooks: Vec::new(), retried: None, hold: None }));
        let (queue, taken, took) = (start.queue, start.entry, Duration::ZERO);
        self.inbox.send(Command::Finish(Finish { queue, taken, next, attempt, took, more }));
    }

    /// Gives up on attempts that did not stop when told: their jobs go back, whatever their handlers
    /// still do is void.
    pub(super) fn release(&self, attempts: &[Arc<Running>]) {
        for running in attempts {
            if self.scheduler().landed(running.plan.run) {
                self.finish(running, Ending::Released, self.now());
            }
        }
    }

    /// Writes the starts of those jobs that have been running for a while.
    pub(super) fn mark_long_running(self: &Arc<Self>, runs: Vec<RunId>) {
        let marks: Vec<(JobId, Mark)> = runs
            .into_iter()
            .filter_map(|run| self.executor.runs.get(run.job).filter(|running| running.plan.run == run))
            .map(|running| (running.plan.run.job, mark(&running.plan)))
            .collect();
        if !marks.is_empty() {
            self.inbox.send(Command::Mark(MarkStarts::behind(marks)));
        }
    }
}

fn log_enqueue(engine: &Engine, jobs: &[Prepared]) {
    for job in jobs {
        let queue = engine.store.catalog.queue_name(job.queue);
        let kind = engine.store.catalog.kind_name(job.record().kind);
        tracing::debug!(queue = &*queue, kind = &*kind, bytes = job.bytes.len(), "enqueue");
    }
}

fn mark(plan: &Plan) -> Mark {
    Mark {
        queue: plan.queue,
        priority: plan.taken.order.priority,
        turn: plan.taken.order.turn,
        attempt: plan.attempt.number,
        max_attempts: plan.attempt.max,
        started_at: plan.attempt.started_at,
        alone: plan.alone,
    }
}

fn log_ending(running: &Running, next: Next) {
    let facts = running.attempted.facts();
    let (id, queue, kind, attempt) = (facts.id.get(), &*facts.queue, &*facts.kind, facts.attempt);
    match next {
        Next::Complete => tracing::debug!(id, queue, kind, attempt, outcome = "completed"),
        Next::Wait(_) => tracing::debug!(id, queue, kind, attempt, outcome = "runs again later"),
        Next::Stay => tracing::debug!(id, queue, kind, attempt, outcome = "given back"),
        Next::Cancel => tracing::info!(id, queue, kind, attempt, outcome = "cancelled"),
        Next::Die => tracing::warn!(id, queue, kind, attempt, outcome = "dead"),
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
