//! Explains why a waiting job does not start.

use std::sync::Arc;
use std::time::Duration;

use super::circuits::CircuitWait;
use super::shared_limits::LimitKey;
use super::state::Scheduler;
use crate::job::{JobId, KindId, Order, QueueId, Record};
use crate::time::Now;

/// Why a waiting job does not start, as far as the scheduler can tell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Blocked {
    QueuePaused,
    KindPaused,
    AllPaused,
    NoHandler,
    RateLimited(Duration),
    /// The circuit of its queue or group is open.
    CircuitOpen(Duration),
    /// The circuit is half open, and this job is the probe.
    CircuitHalfOpen(JobId),
    /// A limit that it shares with other jobs is used up.
    Limit(LimitKey),
    NoFreeSlot,
    NoThread,
    /// The process has crashed, and other jobs start first. The duration is an estimate of the remaining wait.
    Recovering(Duration),
    ProcessBudget(usize),
    /// Too many ended jobs wait for their ends to be durable.
    Unsettled(usize),
    Draining,
    /// The job starts as soon as the dispatcher reaches it.
    Next,
}

impl Scheduler {
    /// Why this waiting job of `queue` does not start. `group` is the group of which it is the head, and its position
    /// among the heads.
    pub fn why(
        &self,
        queue: QueueId,
        (id, record): (JobId, &Record),
        group: Option<(&Arc<str>, Order)>,
        now: Now,
    ) -> Blocked {
        let kind = record.kind;
        let Some(state) = self.queues.get(queue) else { return Blocked::NoHandler };
        if self.stopped {
            return Blocked::Draining;
        }
        if self.all_paused {
            return Blocked::AllPaused;
        }
        if state.paused {
            return Blocked::QueuePaused;
        }
        if state.is_kind_paused(kind) {
            return Blocked::KindPaused;
        }
        if !state.handles(kind) {
            return Blocked::NoHandler;
        }
        match self.circuit_wait(queue, group.map(|(group, _)| group), now) {
            Some(CircuitWait::Open(wait)) => return Blocked::CircuitOpen(wait),
            Some(CircuitWait::HalfOpen(probe)) => return Blocked::CircuitHalfOpen(probe),
            None => {}
        }
        let of_group = group.and_then(|(group, _)| self.buckets.wait(queue, Some(group), now));
        let passed_over = group.and_then(|(_, order)| state.read_again_in(id, order, now));
        if let Some(wait) = self.buckets.wait(queue, None, now).max(of_group).max(passed_over) {
            return Blocked::RateLimited(wait);
        }
        let priority = record.priority.get();
        if let Some(key) = state.full_limit(queue, (id, record), priority, &self.handed_out.limits) {
            return Blocked::Limit(key);
        }
        let is_suspect = self.probation.holds(id);
        let wait = if is_suspect { self.probation.wait_of(id, now) } else { self.probation.holds_others(now) };
        let running = self.handed_out.running_in(queue);
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Blocked::Recovering(wait);
        }
        if running >= state.slots() {
            return Blocked::NoFreeSlot;
        }
        if !is_suspect && running + self.slots_of_suspects(queue, now) >= state.slots() {
            return Blocked::Recovering(self.probation.next_event(now).unwrap_or_default());
        }
        if !self.has_room() {
            return match self.handed_out.running() < self.running_max {
                true => Blocked::Unsettled(self.handed_out.unsettled()),
                false => Blocked::ProcessBudget(self.running_max),
            };
        }
        if state.blocks(kind) && !self.threads.is_free_for(queue, self.handed_out.blocking()) {
            return Blocked::NoThread;
        }
        Blocked::Next
    }

    /// As which priority a waiting job counts, and how many jobs of other priorities go before it because they have waited for
    /// long, as far as they are in memory. `None` if the queue's worker has no ageing.
    pub fn age_of(&self, queue: QueueId, job: (JobId, &Record), now: Now) -> Option<(u8, u64)> {
        self.queues.get(queue)?.age_of(job, now)
    }

    /// The kinds of jobs that were passed over because the queue's worker has no handler for them.
    pub fn passed_over(&self, queue: QueueId) -> impl Iterator<Item = KindId> {
        self.queues.get(queue).into_iter().flat_map(|state| state.passed_over())
    }

    /// Forgets a kind of which no job waits in the queue any more. Later jobs of the kind are noted again.
    pub fn forget_passed_over(&mut self, queue: QueueId, kind: KindId) {
        if let Some(state) = self.queues.get_mut(queue) {
            state.forget_passed_over(kind);
        }
    }
}
