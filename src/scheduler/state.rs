//! The scheduler's state, its settings, and how a queue is put into the rotation.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::buckets::Buckets;
use super::handed_out::HandedOutJobs;
use super::limits::{WindowLimits, WorkerLimits};
use super::probation::Probation;
use super::queue_state::Withdrawn;
use super::queue_states::QueueStates;
use super::shared_limits::LimitKey;
use super::start::Chores;
use super::threads::Threads;
use crate::job::{IdSet, QueueId, Steered, StreamId, WorkerSettings};
use crate::time::Now;

/// Decides which job may start now. [The module](super) lists its parts.
pub(crate) struct Scheduler {
    pub(super) queues: QueueStates,
    /// Queues that may have something to start, in the order in which they start one job each.
    pub(super) rotation: VecDeque<QueueId>,
    /// The queues in `rotation`.
    pub(super) in_rotation: IdSet<QueueId>,
    pub(super) handed_out: HandedOutJobs,
    pub(super) threads: Threads,
    pub(super) buckets: Buckets,
    pub(super) probation: Probation,
    /// Waiting jobs that an operator's call is about to change: they must not start meanwhile.
    pub(super) withdrawn: Withdrawn,
    /// When to check for runs that need a start mark. `None` if no run can be old enough.
    pub(super) mark_at: Option<Duration>,
    /// Chores that were found while jobs were chosen; [`Self::chores`] returns them.
    pub(super) found: Chores,
    /// The answer of [`Self::chores`] has changed since it was last asked.
    pub(super) chores_changed: bool,
    pub(super) running_max: usize,
    pub(super) limits: WindowLimits,
    /// The file cannot be written: the end of a job that starts now could not be stored.
    pub(super) suspended: bool,
    pub(super) stopped: bool,
    /// An operator has paused all queues.
    pub(super) all_paused: bool,
    /// The queues of consumers that have or had a worker, with the streams from which they are fed.
    pub(super) feeds: Vec<(QueueId, StreamId)>,
}

impl Scheduler {
    pub fn new(running_max: usize, limits: WindowLimits) -> Self {
        Self {
            queues: QueueStates::new(limits),
            rotation: VecDeque::new(),
            in_rotation: IdSet::default(),
            handed_out: HandedOutJobs::default(),
            threads: Threads::new(usize::MAX),
            buckets: Buckets::default(),
            probation: Probation::default(),
            withdrawn: Withdrawn::default(),
            mark_at: None,
            found: Chores::default(),
            chores_changed: true,
            running_max,
            limits,
            suspended: false,
            stopped: false,
            all_paused: false,
            feeds: Vec::new(),
        }
    }

    // --- settings -----------------------------------------------------------------------------

    /// Binds a worker's settings to a queue.
    pub fn open_queue(&mut self, queue: QueueId, settings: WorkerLimits, now: Now) {
        for (kind, jobs) in &settings.concurrency_of {
            self.handed_out.limits.set(LimitKey::Kind(queue, *kind), *jobs);
        }
        if let Some(feeding) = &settings.feeding {
            self.feeds.retain(|(of, _)| *of != queue);
            self.feeds.push((queue, feeding.number));
        }
        self.queues.get_or_make(queue).open(settings);
        self.set_breakers(queue);
        self.limits_changed(queue, now);
    }

    /// Sets what holds in place of the settings of the queue's worker.
    pub fn steer(&mut self, queue: QueueId, steered: Option<Arc<Steered>>, now: Now) {
        self.queues.get_or_make(queue).steer(steered);
        self.limits_changed(queue, now);
    }

    /// The worker's limits, or what holds in their place, have changed.
    fn limits_changed(&mut self, queue: QueueId, now: Now) {
        self.set_rates(queue, now);
        self.attend_suspects(queue);
        self.note(queue);
        self.wake(queue);
        self.chores_changed = true;
    }

    /// Sets the rates of the queue's buckets, if it has a worker.
    pub(super) fn set_rates(&mut self, queue: QueueId, now: Now) {
        if let Some(state) = self.queues.get(queue).filter(|state| state.settings.is_some()) {
            let (rate, group_rate) = state.rates();
            self.buckets.set_rates(queue, rate, group_rate, now);
        }
    }

    /// Pauses or resumes all queues.
    pub fn pause_all(&mut self, paused: bool) {
        self.all_paused = paused;
        self.probation.check_again();
        self.chores_changed = true;
    }

    /// Whether all queues are paused.
    pub fn are_all_paused(&self) -> bool {
        self.all_paused
    }

    /// The limits that the queue's worker says, without what an operator has set.
    pub fn worker_settings(&self, queue: QueueId) -> Option<WorkerSettings> {
        self.queues.get(queue)?.settings.as_ref().map(WorkerLimits::own)
    }

    /// Sets how many jobs whose handlers need a thread may run at a time, over all queues.
    pub fn set_threads_max(&mut self, threads: usize) {
        self.threads.max = threads;
    }

    /// The queue has no worker any more: none of its jobs start.
    pub fn close_queue(&mut self, queue: QueueId) {
        let state = self.queues.get_or_make(queue);
        state.close(queue, &mut self.handed_out.limits);
        self.wake_queues_for_limits();
        self.note(queue);
        self.attend_suspects(queue);
    }

    /// Forgets a queue of which nothing is stored. Its number may be given to another queue.
    pub fn forget_queue(&mut self, queue: QueueId) {
        self.buckets.forget_queue(queue);
        self.handed_out.limits.forget_queue(queue);
        if let Some(state) = self.queues.get_mut(queue) {
            state.circuits = None;
        }
    }

    pub fn set_concurrency(&mut self, queue: QueueId, concurrency: usize) {
        if let Some(settings) = &mut self.queues.get_or_make(queue).settings {
            settings.concurrency = concurrency;
        }
        self.wake(queue);
    }

    /// Sets how many units a named limit has. The limit is made if there is none.
    pub fn set_limit(&mut self, limit: u32, units: u32) {
        self.handed_out.limits.set(LimitKey::Named(limit), units);
        self.wake_queues_for_limits();
    }

    /// How many units a shared limit has, and how many are in use.
    pub fn limit_usage(&self, key: LimitKey) -> (u32, u64) {
        self.handed_out.limits.usage(key)
    }

    pub fn set_running_max(&mut self, running_max: usize) {
        self.running_max = running_max;
    }

    /// Stops all starts. They cannot be resumed.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    // --- waking -------------------------------------------------------------------------------

    pub(super) fn wake(&mut self, queue: QueueId) {
        self.probation.wake(queue);
        if self.in_rotation.insert(queue) {
            self.rotation.push_back(queue);
        }
    }

    pub(super) fn note(&mut self, queue: QueueId) {
        self.chores_changed |= self.queues.note(queue);
    }
}
