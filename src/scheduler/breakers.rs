//! The calls about circuit breakers. Each concerns a circuit, and wakes the queue that it may let start something.

use std::sync::Arc;

use super::circuits::{CircuitWait, Circuits, UNUSED_FORGOTTEN_AFTER};
use super::handed_out::RunId;
use super::start::Start;
use super::state::Scheduler;
use crate::job::{BucketKey, Circuit, CircuitRow, CircuitStep, QueueId, Verdict};
use crate::time::Now;

impl Scheduler {
    /// Adds an open circuit from the file. That of a group is forgotten instead if it has been half open for so long that the
    /// group may have no jobs any more.
    pub fn restore_circuit(&mut self, key: &BucketKey, row: CircuitRow, read: Now) {
        if key.group.is_some() && read.age.since(row.until) >= UNUSED_FORGOTTEN_AFTER {
            self.found.forget_circuits.push(key.clone());
            return;
        }
        let until = read.mono.saturating_add(row.until.since(read.age));
        self.circuits_or_new(key.queue).opened(key.group.as_ref(), until, false, 0);
    }

    /// Counts the end of an attempt whose worker has a circuit breaker, before anything else starts. Returns what must be
    /// written with the end.
    pub fn count_end(
        &mut self,
        run: RunId,
        queue: QueueId,
        group: Option<&Arc<str>>,
        verdict: Verdict,
        now: Now,
    ) -> Vec<CircuitStep> {
        let serial = self.handed_out.serial();
        let Some(circuits) = self.circuits_mut(queue) else { return Vec::new() };
        let steps = circuits.ended((queue, group), run, verdict, serial, now);
        if !steps.is_empty() {
            self.chores_changed = true;
        }
        steps
    }

    /// A job starts. It is the probe of the circuits that are half open.
    pub(super) fn starts_as_probe(&mut self, start: &Start) {
        if let Some(circuits) = self.circuits_mut(start.queue) {
            circuits.starts(start.run, start.job.group());
        }
    }

    /// It is durable that a circuit is open.
    pub(super) fn circuit_opened(&mut self, key: BucketKey, until: Now) {
        let serial = self.handed_out.serial();
        let has_worker = self.queues.get(key.queue).is_some_and(|state| state.settings.is_some());
        let circuits = self.circuits_or_new(key.queue);
        let is_kept = circuits.opened(key.group.as_ref(), until.mono, has_worker, serial);
        self.drop_unused_circuits(key.queue);
        if !is_kept {
            self.found.forget_circuits.push(key);
        }
        self.chores_changed = true;
    }

    /// It is durable that a circuit is closed.
    pub(super) fn circuit_closed(&mut self, key: &BucketKey) {
        let serial = self.handed_out.serial();
        let circuits = self.circuits_mut(key.queue);
        let Some(circuits) = circuits.filter(|circuits| circuits.is_held(key.group.as_ref())) else { return };
        circuits.closed(key.group.as_ref(), serial);
        self.drop_unused_circuits(key.queue);
        self.circuit_lets_start(key.queue, key.group.as_ref());
    }

    /// A circuit may let a job of the queue or group start.
    pub(super) fn circuit_lets_start(&mut self, queue: QueueId, group: Option<&Arc<str>>) {
        if let Some(group) = group {
            self.queues.get_or_make(queue).group_opened(group);
        }
        self.note(queue);
        self.wake(queue);
        self.probation.check_again();
        self.chores_changed = true;
    }

    /// Sets the breakers of the queue's worker. Rows of open circuits that it has no breaker for are to be removed.
    pub(super) fn set_breakers(&mut self, queue: QueueId) {
        let serial = self.handed_out.serial();
        let state = self.queues.get_or_make(queue);
        let Some(settings) = &state.settings else { return };
        let (breaker, group_breaker) = (settings.circuit_breaker, settings.group_circuit_breaker);
        if state.circuits.is_none() && breaker.is_none() && group_breaker.is_none() {
            return;
        }
        let circuits = state.circuits.get_or_insert_default();
        let dropped = circuits.set_breakers(breaker, group_breaker, serial);
        self.found.forget_circuits.extend(dropped.into_iter().map(|group| BucketKey { queue, group }));
        self.drop_unused_circuits(queue);
    }

    /// The circuit of a queue or group, as an operator sees it.
    pub fn circuit(&self, key: &BucketKey, now: Now) -> Circuit {
        let circuits = self.circuits(key.queue);
        circuits.map_or(Circuit::Closed { failures: 0, ends: 0 }, |circuits| circuits.shown(key.group.as_ref(), now))
    }

    /// Whether the circuit of a queue is open or half open, and how many of its groups' circuits are.
    pub fn circuits_held(&self, queue: QueueId) -> (bool, usize) {
        self.circuits(queue).map_or((false, 0), Circuits::held)
    }

    /// The circuits of groups that were half open for so long that their rows can be removed, at most `rows_max`.
    pub fn unused_circuits(&self, rows_max: usize, now: Now) -> Vec<BucketKey> {
        let mut keys = Vec::new();
        for queue in self.queues.ids() {
            let Some(circuits) = self.circuits(queue) else { continue };
            let groups = circuits.unused_groups(rows_max - keys.len(), now);
            keys.extend(groups.into_iter().map(|group| BucketKey { queue, group: Some(group) }));
            if keys.len() == rows_max {
                break;
            }
        }
        keys
    }

    /// Whether the row of a circuit can be removed, because nothing is held by it. Call it while the commit is made that removes
    /// the row.
    pub fn forget_circuit(&mut self, key: &BucketKey, now: Now) -> bool {
        let Some(circuits) = self.circuits_mut(key.queue) else { return true };
        if let Some(group) = &key.group {
            circuits.forget_unused(group, now);
        }
        let is_free = !circuits.is_held(key.group.as_ref());
        self.drop_unused_circuits(key.queue);
        is_free
    }

    /// Why the circuit of the queue, or of the group, lets no job start.
    pub(super) fn circuit_wait(&self, queue: QueueId, group: Option<&Arc<str>>, now: Now) -> Option<CircuitWait> {
        let circuits = self.circuits(queue)?;
        circuits.wait(None, now).or_else(|| group.and_then(|group| circuits.wait(Some(group), now)))
    }

    fn circuits(&self, queue: QueueId) -> Option<&Circuits> {
        self.queues.get(queue)?.circuits.as_deref()
    }

    fn circuits_mut(&mut self, queue: QueueId) -> Option<&mut Circuits> {
        self.queues.get_mut(queue)?.circuits.as_deref_mut()
    }

    fn circuits_or_new(&mut self, queue: QueueId) -> &mut Circuits {
        self.queues.get_or_make(queue).circuits.get_or_insert_default()
    }

    /// A queue without a breaker and without an open circuit has no circuits.
    fn drop_unused_circuits(&mut self, queue: QueueId) {
        if let Some(state) = self.queues.get_mut(queue)
            && state.circuits.as_ref().is_some_and(|circuits| circuits.is_unused())
        {
            state.circuits = None;
        }
    }
}
