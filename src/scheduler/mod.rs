//! Decides which job may start now.
//!
//! In memory and deterministic. It is told what commits have changed (`apply.rs`) and what the time is, and is asked for
//! the next starts (`choose.rs`) and why a job does not start (`explain.rs`). This file has its types, its settings, and
//! what it is told about runs and buckets.
//!
//! Refuses to do I/O, to read a clock, and to know tokio or redb. It decides *which* job starts; when it is asked, and what
//! happens with the answer, is up to the dispatcher.

mod apply;
mod bucket;
mod choose;
mod explain;
mod handed_out;
mod parked;
mod probation;
mod queue_state;
mod queue_states;
mod threads;
mod window;

pub(crate) use bucket::Reservation;
pub(crate) use handed_out::{HandedOut, RunId};
pub(crate) use queue_state::{WindowLimits, WorkerLimits};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::job::{BucketKey, BucketState, IdMap, IdSet, JobId, KindId, Order, QueueId, ReadyJob, Refill};
use crate::time::Now;
use bucket::Buckets;
use handed_out::HandedOutJobs;
use probation::Probation;
use queue_states::QueueStates;
use threads::Threads;
use window::Source;

/// Jobs that have ended but whose end is not durable yet, at most: past this nothing new starts
/// until the writer has caught up. It bounds the outcomes that wait in the writer's messages.
pub(crate) const UNSETTLED_MAX: usize = 8_192;

/// And their records and results, at most, in bytes: the job that passes it has ended already.
pub(crate) const UNSETTLED_BYTES_MAX: usize = 64 << 20;

/// A job that may start now.
#[derive(Debug)]
pub(crate) struct Start {
    pub run: RunId,
    pub queue: QueueId,
    pub job: Arc<ReadyJob>,
    /// The start must be durable before the handler runs.
    pub commit_first: bool,
    /// Nothing runs beside it: if the process dies now, it did it.
    pub alone: bool,
}

/// What there is to do besides starting jobs.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    /// Ready jobs whose expiry has passed: they end instead of starting.
    pub expired: Vec<Start>,
    /// Windows to fill from the table.
    pub refills: Vec<Refill>,
    /// Queues with delayed jobs that are due.
    pub promote: Vec<QueueId>,
    /// Tokens to be made durable before they are used.
    pub reserve: Vec<Reservation>,
    /// How long nothing will change by itself; `None` if only a change from outside can.
    pub wait: Option<Duration>,
    /// What comes then must come exactly then: a rate would fall short otherwise.
    pub is_exact: bool,
}

impl Chores {
    fn has_some(&self) -> bool {
        !self.expired.is_empty() || !self.refills.is_empty() || !self.reserve.is_empty()
    }
}

/// Waiting jobs that are out of reach, with their entries if the dispatcher came across them.
pub(crate) type Withdrawn = IdMap<Option<(QueueId, Arc<ReadyJob>)>>;

/// Why a waiting job does not start, as far as the scheduler knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blocked {
    QueuePaused,
    NoHandler,
    RateLimited(Duration),
    NoFreeSlot,
    NoThread,
    /// The process died before, and others are tried first. For about so long.
    Recovering(Duration),
    ProcessBudget(usize),
    Draining,
    /// Starts as soon as the dispatcher gets to it.
    Next,
}

pub(crate) struct Scheduler {
    queues: QueueStates,
    /// Queues that may have something to start, in the order they take turns.
    turns: VecDeque<QueueId>,
    /// Queues that stand in `turns`.
    waiting: IdSet<QueueId>,
    handed_out: HandedOutJobs,
    threads: Threads,
    buckets: Buckets,
    probation: Probation,
    /// Waiting jobs that an operator's call is about to change, and those of them whose turn came
    /// meanwhile.
    withdrawn: Withdrawn,
    /// When to look for jobs whose start is to be written, if any of that age can be running.
    mark_at: Option<Duration>,
    /// Found while choosing; the dispatcher fetches them with [`Self::chores`].
    found: Chores,
    /// Something that [`Self::chores`] reports has changed since it was last asked.
    restless: bool,
    running_max: usize,
    limits: WindowLimits,
    /// The file cannot be written: what starts now could not be acknowledged.
    suspended: bool,
    stopped: bool,
}

impl Scheduler {
    pub fn new(running_max: usize, limits: WindowLimits) -> Self {
        Self {
            queues: QueueStates::new(limits),
            turns: VecDeque::new(),
            waiting: IdSet::default(),
            handed_out: HandedOutJobs::default(),
            threads: Threads::new(usize::MAX),
            buckets: Buckets::default(),
            probation: Probation::default(),
            withdrawn: Withdrawn::default(),
            mark_at: None,
            found: Chores::default(),
            restless: true,
            running_max,
            limits,
            suspended: false,
            stopped: false,
        }
    }

    // --- settings -----------------------------------------------------------------------------

    /// Binds a worker's settings to a queue.
    pub fn open_queue(&mut self, queue: QueueId, settings: WorkerLimits, now: Now) {
        self.buckets.set_rates(queue, settings.rate, settings.group_rate, now);
        let state = self.queues.get_or_make(queue);
        state.settings = Some(settings);
        state.restart();
        self.attend_suspects(queue);
        self.note(queue);
        self.wake(queue);
        self.restless = true;
    }

    /// So many jobs whose handlers need a thread run at a time, over all queues.
    pub fn set_threads_max(&mut self, threads: usize) {
        self.threads.max = threads;
    }

    /// The queue's worker is gone: nothing of it starts any more.
    pub fn close_queue(&mut self, queue: QueueId) {
        let state = self.queues.get_or_make(queue);
        state.settings = None;
        // The table keeps the rows. Memory need not, and the next worker looks at the table anew.
        state.restart();
        self.note(queue);
        self.attend_suspects(queue);
    }

    /// Nothing of this queue is stored, and its number may be given to another one.
    pub fn forget_queue(&mut self, queue: QueueId) {
        self.buckets.forget_queue(queue);
    }

    pub fn set_concurrency(&mut self, queue: QueueId, concurrency: usize) {
        if let Some(settings) = &mut self.queues.get_or_make(queue).settings {
            settings.concurrency = concurrency;
        }
        self.wake(queue);
    }

    pub fn set_running_max(&mut self, running_max: usize) {
        self.running_max = running_max;
    }

    /// No more starts, for good.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    // --- answers ------------------------------------------------------------------------------

    /// The rows that a [`Refill`] asked for. `end` says that there are none behind them.
    pub fn refilled(&mut self, refill: Refill, rows: Vec<Arc<ReadyJob>>, end: bool) {
        let Self { queues, handed_out, probation, .. } = self;
        if let Some(state) = queues.get_mut(refill.queue) {
            state.refilled(refill, rows, end, |row| handed_out.contains(row.id) || probation.holds(row.id));
            self.note(refill.queue);
            self.wake(refill.queue);
        }
    }

    /// The handler has returned and its slot is free; the job itself stays taken until the writer
    /// has settled it. False if this run is not the job's current one: its outcome is void.
    pub fn finished(&mut self, run: RunId) -> bool {
        let Some(queue) = self.handed_out.finish(run) else { return false };
        self.wake(queue);
        if self.probation.is_active() {
            // A suspect of another queue may have waited for its thread.
            self.probation.look();
        }
        true
    }

    /// The end of this run, which has finished, brings a result of so many bytes to the writer.
    pub fn ends_with(&mut self, run: RunId, bytes: usize) {
        self.handed_out.ends_with(run, bytes);
    }

    /// A job that was handed out and did not start is back at its place. One that was to be tried still is.
    pub fn given_back(&mut self, run: RunId, job: Arc<ReadyJob>) {
        if !self.finished(run) {
            return;
        }
        let suspect = self.probation.take_back(job.id);
        let Some(handed) = self.settle(job.id) else { return };
        match suspect {
            Some(suspect) => {
                let is_taken = self.queues.get(handed.queue).is_some_and(|state| state.takes(job.kind()));
                self.probation.wait_again(suspect, is_taken);
            }
            None => self.queues.get_or_make(handed.queue).arrive(job, false),
        }
        self.wake(handed.queue);
    }

    /// Takes a waiting job out of the dispatcher's reach before the writer changes or removes it.
    /// False if a handler has it.
    pub fn withdraw(&mut self, id: JobId) -> bool {
        let free = !self.handed_out.contains(id);
        if free {
            self.withdrawn.entry(id).or_default();
        }
        free
    }

    /// The writer is done with it.
    pub fn reinstate(&mut self, id: JobId) {
        if let Some(Some((queue, job))) = self.withdrawn.remove(&id) {
            tracing::trace!("a job's turn came while an operator's call had it");
            self.queues.get_or_make(queue).put_back(job);
            self.wake(queue);
            self.restless = true;
        }
        if self.probation.holds(id) {
            self.probation.look();
            self.restless = true;
        }
    }

    /// The start of this run is on its way to be durable. Returns the job whose mark says that it is alone, if
    /// that is no longer so by this start: the same commit must say so.
    pub fn marked(&mut self, run: RunId) -> Option<JobId> {
        if let Some(handed) = self.handed_out.get_mut(run) {
            handed.marked = true;
        }
        self.probation.marked(run.job)
    }

    /// It could not be marked yet: look again.
    pub fn not_marked(&mut self, run: RunId, now: Now) {
        if let Some(handed) = self.handed_out.get_mut(run) {
            handed.marked = false;
            // Others may be due earlier.
            let at = now.mono.saturating_add(self.limits.mark_after);
            self.mark_at = Some(self.mark_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Runs that have lasted for `age` without their start being written. Says each once.
    pub fn long_running(&mut self, now: Now, age: Duration) -> Vec<RunId> {
        if self.mark_at.is_none_or(|at| at > now.mono) {
            return Vec::new();
        }
        self.mark_at = None;
        let mut due = Vec::new();
        for handed in self.handed_out.iter_mut().filter(|handed| !handed.finished && !handed.marked) {
            let at = handed.started.mono.saturating_add(age);
            if at <= now.mono {
                handed.marked = true;
                due.push(handed.run);
            } else {
                self.mark_at = Some(self.mark_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
        due
    }

    pub fn is_handed_out(&self, id: JobId) -> bool {
        self.handed_out.contains(id)
    }

    /// Whether what stands at this place among the heads of groups was handed out.
    pub fn is_handed_out_at(&self, queue: QueueId, order: Order) -> bool {
        self.handed_out.iter().any(|handed| handed.grouped && handed.queue == queue && handed.order == order)
    }

    /// At which place it was handed out.
    pub fn order_of_handed_out(&self, id: JobId) -> Option<Order> {
        self.handed_out.get(id).map(|handed| handed.order)
    }

    pub fn running(&self) -> usize {
        self.handed_out.running()
    }

    /// How many jobs may run at a time, and how many of those with a blocking handler.
    pub fn limits(&self) -> (usize, usize) {
        (self.running_max, self.threads.max)
    }

    pub fn running_in(&self, queue: QueueId) -> usize {
        self.handed_out.running_in(queue)
    }

    /// Kinds of jobs that a queue's worker has passed over, because it has no handler for them.
    pub fn passed_over(&self, queue: QueueId) -> impl Iterator<Item = KindId> {
        self.queues.get(queue).into_iter().flat_map(|state| state.passed_over())
    }

    /// Nothing of this kind waits there any more. It is passed over again if it comes again.
    pub fn forget_passed_over(&mut self, queue: QueueId, kind: KindId) {
        if let Some(state) = self.queues.get_mut(queue) {
            state.forget_passed_over(kind);
        }
    }

    /// Handed out and not settled.
    pub fn taken_in(&self, queue: QueueId) -> usize {
        self.handed_out.taken_in(queue)
    }

    pub fn limited_for(&self, key: &BucketKey, now: Now) -> Option<Duration> {
        self.buckets.wait(key.queue, key.group.as_ref(), now)
    }

    /// Takes tokens by hand. Returns whether that is to be made durable.
    ///
    /// # Errors
    /// How long until there are enough.
    pub fn take_tokens(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<bool, Duration> {
        self.buckets.take_by_hand(key, tokens, now)
    }

    /// Tokens that were taken by hand, and could not be durably.
    pub fn give_tokens_back(&mut self, key: &BucketKey, tokens: u32) {
        self.buckets.give_back(key, tokens);
    }

    /// What is to be stored of a bucket now; nothing if its row is to be removed. To be asked while the commit
    /// is made that stores it.
    pub fn bucket_to_store(&mut self, key: &BucketKey, now: Now) -> Option<BucketState> {
        self.buckets.state_to_store(key, now)
    }

    pub fn tokens(&self, key: &BucketKey, now: Now) -> f64 {
        self.buckets.level(key, now)
    }

    pub fn fill_bucket(&mut self, key: &BucketKey, now: Now) {
        self.buckets.fill(key, now);
        if let Some(group) = &key.group {
            self.queues.get_or_make(key.queue).group_opened(group);
        }
        self.note(key.queue);
        self.wake(key.queue);
        self.restless = true;
    }

    /// What every bucket holds for a clean stop: unused reservations go back in.
    pub fn bucket_states(&self, now: Now) -> Vec<(BucketKey, Option<BucketState>)> {
        self.buckets.states(now)
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Looks at so many buckets and names those whose rows say nothing that a bucket nobody knows would not.
    pub fn buckets_to_forget(&mut self, looks: usize, rows_max: usize, now: Now) -> Vec<BucketKey> {
        self.buckets.forgettable(looks, rows_max, now)
    }

    /// The rows of these buckets could not be removed.
    pub fn buckets_not_forgotten(&mut self, keys: &[BucketKey]) {
        self.buckets.not_forgotten(keys);
    }

    /// Forgets such a bucket. False if it says something by now, and its row is to be kept. To be asked while the
    /// commit is made that removes it.
    pub fn forget_bucket(&mut self, key: &BucketKey, now: Now) -> bool {
        self.buckets.forget(key, now)
    }

    /// Nothing can start, and nothing is under way that would let it, before the clock moves or a
    /// running job finishes.
    pub fn is_quiet(&self, now: Now) -> bool {
        let none_may_start = self.probation.holds_others(now).is_some()
            || (self.turns.is_empty() && !self.threads.is_waited_for(self.handed_out.blocking()));
        let blocked = !self.has_room() || (none_may_start && !self.probation.looks(now));
        !self.found.has_some()
            && blocked
            && self.handed_out.unsettled() == 0
            && !self.queues.is_busy(now)
            && !self.buckets.is_reserving()
    }

    // --- waking -------------------------------------------------------------------------------

    fn wake(&mut self, queue: QueueId) {
        self.probation.wake(queue);
        if self.waiting.insert(queue) {
            self.turns.push_back(queue);
        }
    }

    fn note(&mut self, queue: QueueId) {
        self.restless |= self.queues.note(queue);
    }

    fn reservation_answered(&mut self, key: &BucketKey) {
        if let Some(group) = &key.group {
            self.queues.get_or_make(key.queue).reservation_answered(group);
            self.note(key.queue);
        }
        self.wake(key.queue);
        self.restless = true;
    }
}

/// The windows' view of a row.
impl Source for Arc<ReadyJob> {
    fn order(&self) -> Order {
        self.order
    }

    fn id(&self) -> JobId {
        self.id
    }

    fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

#[cfg(test)]
mod after_a_crash;
#[cfg(test)]
mod every_job_starts;
#[cfg(test)]
mod tests;
