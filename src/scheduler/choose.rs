//! Chooses the jobs that may start now, and says what else there is to do and when to ask again.
//!
//! Queues with something to start stand in a rotation ([`Scheduler::rotation`]), and each starts one job at a time. A queue
//! that has nothing to start is removed from it, and every change that could let the queue start a job adds it again.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::buckets::Gate;
use super::circuits::CircuitWait;
use super::handed_out::HandedOutJobs;
use super::probation::MayStart;
use super::queue_state::{Pick, QueueState, Shared};
use super::shared_limits::LimitKey;
use super::start::{Chores, Start, Starts};
use super::state::Scheduler;
use crate::job::{JobId, QueueId, ReadyJob, Suspect};
use crate::time::Now;

/// The maximum number of jobs that have ended and whose end is not durable yet: at this number nothing starts until the
/// writer has caught up. This bounds the number of outcomes that wait in the writer's messages.
pub(super) const UNSETTLED_MAX: usize = 8_192;

/// The maximum size of their records and results, in bytes. The job that exceeds it has already ended, so it is still
/// accepted.
pub(super) const UNSETTLED_BYTES_MAX: usize = 64 << 20;

/// Whether the units that a suspect needs of shared limits are free. A suspect overtakes the queues that wait for units.
fn has_units(state: &QueueState, handed_out: &HandedOutJobs, job: &ReadyJob) -> bool {
    let has_room = |key: &LimitKey| handed_out.limits.has_room(*key, job.record.weight());
    state.shared_by(job.kind()).is_none_or(|keys| keys.iter().all(has_room))
}

impl Scheduler {
    /// The jobs that may start now, at most `starts_max`.
    pub fn starts(&mut self, now: Now, starts_max: usize) -> Starts {
        let mut starts = Starts::default();
        while starts.len() < starts_max && self.has_room() {
            if self.handed_out.limits.holds_some() && !self.probation.has_waiting() {
                self.suspects_wait_for([]);
            }
            if self.probation.is_active() {
                if self.start_suspect(now, &mut starts) {
                    continue;
                }
                if self.probation.holds_others(now).is_some() {
                    break;
                }
            }
            self.wake_queues_for_threads();
            let Some(queue) = self.rotation.pop_front() else { break };
            if self.start_one(queue, now, &mut starts) {
                self.rotation.push_back(queue);
            } else {
                self.in_rotation.remove(&queue);
            }
        }
        starts
    }

    pub(super) fn has_room(&self) -> bool {
        !self.stopped
            && !self.suspended
            && !self.all_paused
            && self.handed_out.running() < self.running_max
            && self.handed_out.unsettled() < UNSETTLED_MAX
            && self.handed_out.unsettled_bytes() < UNSETTLED_BYTES_MAX
    }

    /// Puts queues that wait for a thread back into the rotation while threads are free.
    fn wake_queues_for_threads(&mut self) {
        while let Some(queue) = self.threads.reserve(self.handed_out.blocking()) {
            self.wake(queue);
        }
    }

    /// Puts queues into the rotation that may take units of a shared limit.
    pub(super) fn wake_queues_for_limits(&mut self) {
        while let Some(queue) = self.handed_out.limits.next_woken() {
            self.wake(queue);
        }
    }

    /// Hands out one job of `queue`. Returns false if it has none to start now, or no slot for another one.
    fn start_one(&mut self, queue: QueueId, now: Now, into: &mut Starts) -> bool {
        let running = self.handed_out.running_in(queue) + self.slots_of_suspects(queue, now);
        let thread_is_free = self.threads.is_free_for(queue, self.handed_out.blocking());
        self.threads.asked(queue);
        let Some(state) = self.queues.get_mut(queue) else { return false };
        let mut shared = Shared {
            buckets: &mut self.buckets,
            limits: &mut self.handed_out.limits,
            withdrawn: &mut self.withdrawn,
            reserve: &mut self.found.reserve,
        };
        let pick = state.pick(queue, running, thread_is_free, now, &mut shared);
        // It is asked again when a slot is free.
        let has_another_slot = state.may_start_beside(running + 1);
        state.wants_refills(queue, &mut self.found.refills);
        self.found.aged.extend(state.wants_aged(queue));
        self.found.entries.extend(state.wants_entries(queue));
        self.found.held_up.extend(state.held_up_entries().map(|entries| (queue, entries)));
        self.chores_changed |= self.queues.note(queue) || self.found.has_some();
        self.wake_queues_for_limits();
        match pick {
            Pick::Nothing => false,
            Pick::NoThread => {
                self.threads.wait(queue);
                false
            }
            Pick::Expired(job) => {
                self.expire(queue, job, now);
                true
            }
            Pick::Start { job, blocking, shared, is_probe } => {
                let start = self.hand_out(queue, job, (blocking, shared.as_deref()), false, now);
                if is_probe {
                    self.starts_as_probe(&start);
                }
                into.push(start);
                has_another_slot
            }
        }
    }

    fn expire(&mut self, queue: QueueId, job: Arc<ReadyJob>, now: Now) {
        // The job counts as handed out until its end is durable, but its handler is not called.
        let run = self.handed_out.hand_out(queue, &job, false, None, now);
        self.handed_out.finish(run);
        self.found.expired.push(Start { run, queue, job, commit_first: false, alone: false });
        self.chores_changed = true;
    }

    /// How many slots of a queue are kept free for suspects that wait for nothing but their position in the order of
    /// suspicion.
    pub(super) fn slots_of_suspects(&self, queue: QueueId, now: Now) -> usize {
        if !self.probation.is_active() {
            return 0;
        }
        let Some(state) = self.queues.get(queue) else { return 0 };
        let would_start = |job: &&Arc<ReadyJob>| {
            state.handles(job.kind())
                && !self.withdrawn.contains_key(&job.id)
                && self.circuit_wait(queue, job.group(), now).is_none()
                && job.group().is_none_or(|group| self.buckets.wait(queue, Some(group), now).is_none())
                && has_units(state, &self.handed_out, job)
        };
        self.probation.next_in(queue).filter(would_start).count()
    }

    /// Gives the turns at shared limits to the suspects that wait for units, and to no others.
    pub(super) fn suspects_wait_for(&mut self, suspects: impl IntoIterator<Item = (LimitKey, JobId)>) {
        self.handed_out.limits.hold(suspects);
        self.wake_queues_for_limits();
    }

    /// Hands out the next suspect of the last crash. Returns false if none may start now.
    fn start_suspect(&mut self, now: Now, into: &mut Starts) -> bool {
        if !self.probation.is_check_due(now) {
            return false;
        }
        let Self { queues, handed_out, threads, buckets, withdrawn, .. } = self;
        let circuit = |queue: QueueId, group: Option<&Arc<str>>| {
            queues.get(queue).and_then(|state| state.circuits.as_ref()?.wait(group, now))
        };
        // The suspects that wait for nothing but units, and the limits at which they do.
        let wait_for_units = RefCell::new(Vec::new());
        let may_start_in = |queue: QueueId| {
            let has_slot = queues.get(queue).is_some_and(|state| handed_out.running_in(queue) < state.slots());
            match circuit(queue, None) {
                _ if !has_slot => MayStart::No,
                Some(CircuitWait::Open(wait)) => MayStart::After(wait),
                Some(CircuitWait::HalfOpen(_)) => MayStart::No,
                None => buckets.wait(queue, None, now).map_or(MayStart::Now, MayStart::After),
            }
        };
        let may_start = |Suspect { queue, job, .. }: &Suspect| {
            let Some(state) = queues.get(*queue) else { return MayStart::No };
            // A suspect overtakes the queues that wait for a thread: there are few suspects, and each is started once.
            let has_thread = !state.blocks(job.kind()) || threads.has_free(handed_out.blocking());
            if withdrawn.contains_key(&job.id) || !has_thread || !state.handles(job.kind()) {
                return MayStart::No;
            }
            match job.group().and_then(|group| circuit(*queue, Some(group))) {
                Some(CircuitWait::Open(wait)) => return MayStart::After(wait),
                Some(CircuitWait::HalfOpen(_)) => return MayStart::No,
                None => {}
            }
            if let Some(wait) = job.group().and_then(|group| buckets.wait(*queue, Some(group), now)) {
                return MayStart::After(wait);
            }
            if has_units(state, handed_out, job) {
                return MayStart::Now;
            }
            let keys = state.shared_by(job.kind()).into_iter().flat_map(|keys| keys.iter());
            wait_for_units.borrow_mut().extend(keys.map(|key| (*key, job.id)));
            MayStart::No
        };
        let chosen = self.probation.next(now, handed_out.running() == 0, may_start_in, may_start);
        self.suspects_wait_for(wait_for_units.into_inner());
        self.chores_changed = true;
        let Some((queue, job)) = chosen else { return false };
        if job.record.has_expired(now) {
            self.probation.tried(job.id, now);
            self.expire(queue, job, now);
            return true;
        }
        let reserve = &mut self.found.reserve;
        let mut is_open = self.buckets.gate(queue, None, now, reserve) == Gate::Open;
        if let Some(group) = job.group() {
            is_open &= self.buckets.gate(queue, Some(group), now, reserve) == Gate::Open;
        }
        if !is_open {
            self.probation.not_now(job.id);
            return false;
        }
        self.buckets.spend(queue, None);
        if let Some(group) = job.group() {
            self.buckets.spend(queue, Some(group));
        }
        self.probation.tried(job.id, now);
        let state = self.queues.get(queue);
        let blocking = state.is_some_and(|state| state.blocks(job.kind()));
        let shared = state.and_then(|state| state.shared_by(job.kind())).cloned();
        let start = self.hand_out(queue, job, (blocking, shared.as_deref()), true, now);
        self.starts_as_probe(&start);
        if shared.is_some() {
            // It may have used up the queue's turn, for which another of its jobs waits.
            self.wake(queue);
        }
        into.push(start);
        true
    }

    fn hand_out(
        &mut self,
        queue: QueueId,
        job: Arc<ReadyJob>,
        (blocking, shared): (bool, Option<&[LimitKey]>),
        is_tried: bool,
        now: Now,
    ) -> Start {
        // A job whose end is not durable yet does not count as running: its handler has returned. If its end is lost, the
        // next opening finds both start marks.
        let is_idle = self.handed_out.running() == 0;
        let limits = &self.handed_out.limits;
        let units = shared.map(|keys| keys.iter().map(|key| (*key, limits.units(*key, job.record.weight()))).collect());
        let run = self.handed_out.hand_out(queue, &job, blocking, units, now);
        self.wake_queues_for_limits();
        if self.mark_at.is_none() {
            self.mark_at = Some(now.mono.saturating_add(self.limits.mark_after));
            self.chores_changed = true;
        }
        let (commit_first, alone) = if self.probation.is_active() || job.is_suspect() {
            self.chores_changed = true;
            self.probation.started(&job, is_tried, is_idle, now)
        } else {
            (false, false)
        };
        Start { run, queue, job, commit_first, alone }
    }

    /// Whether the answer of [`Self::chores`] has changed since it was last asked.
    pub fn have_chores_changed(&self) -> bool {
        self.chores_changed
    }

    /// What there is to do besides starting jobs, and when to ask again.
    pub fn chores(&mut self, now: Now) -> Chores {
        self.chores_changed = false;
        let mut chores = std::mem::take(&mut self.found);
        if self.stopped {
            return chores;
        }
        while let Some(queue) = self.queues.next_due(now) {
            let Some(state) = self.queues.get_mut(queue) else { break };
            if !state.promotion_due(now) {
                break;
            }
            chores.promote.push(queue);
            self.note(queue);
        }
        let mut woken = Vec::new();
        while let Some(queue) = self.queues.next_timer(now) {
            let Some(state) = self.queues.get_mut(queue) else { break };
            let is_woken = state.wake_parked(now);
            self.note(queue);
            if is_woken {
                woken.push(queue);
            } else if self.queues.next_timer(now) == Some(queue) {
                break;
            }
        }
        (chores.wait, chores.is_exact) = self.queues.next_event(now);
        if !woken.is_empty() {
            // A start may be due at once, and nothing else may wake the dispatcher for a long time.
            (chores.wait, chores.is_exact) = (Some(Duration::ZERO), false);
        }
        for queue in woken {
            self.wake(queue);
        }
        let mark = self.mark_at.map(|at| at.saturating_sub(now.mono));
        let others = [self.probation.next_event(now), mark].into_iter().flatten().min();
        if let Some(others) = others
            && chores.wait.is_none_or(|wait| others < wait)
        {
            (chores.wait, chores.is_exact) = (Some(others), false);
        }
        chores
    }
    /// Whether nothing can start before the clock moves or a running job finishes, and no answer is outstanding that would
    /// let something start.
    pub fn is_quiet(&self, now: Now) -> bool {
        let none_may_start = self.probation.holds_others(now).is_some()
            || (self.rotation.is_empty() && !self.threads.is_waited_for(self.handed_out.blocking()));
        let blocked = !self.has_room() || (none_may_start && !self.probation.is_check_due(now));
        !self.found.has_some()
            && blocked
            && self.handed_out.unsettled() == 0
            && !self.queues.is_busy(now)
            && !self.buckets.is_reserving()
    }
}
