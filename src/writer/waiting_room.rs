use std::collections::{BTreeMap, VecDeque};

use super::Command;
use super::step::Step;
use crate::job::QueueId;

/// Callers that may wait for room at once, over all queues. Who comes later is refused.
pub(super) const WAITERS_MAX: usize = 10_000;

/// Bytes that those callers may hold together: as many as may wait for the writer itself. One caller may always wait.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Callers who wait for room in a full queue, in the order they came.
#[derive(Default)]
pub(super) struct WaitingRoom {
    lines: BTreeMap<QueueId, VecDeque<Box<dyn Step>>>,
    /// Those in `lines`, and their bytes.
    waiters: usize,
    bytes: usize,
}

impl WaitingRoom {
    /// Whether one more may wait.
    pub fn has_room_for(&self, step: &dyn Step) -> bool {
        self.waiters == 0 || self.waiters < WAITERS_MAX && self.bytes.saturating_add(step.bytes()) <= WAITING_BYTES_MAX
    }

    /// At the end of the line for `queue`.
    pub fn enter(&mut self, queue: QueueId, step: Box<dyn Step>) {
        self.waiters += 1;
        self.bytes = self.bytes.saturating_add(step.bytes());
        self.lines.entry(queue).or_default().push_back(step);
    }

    /// Everybody, in order, to be tried with the next commit. Once one of a line finds no room the
    /// rest of that line come back unasked.
    pub fn everybody(&mut self) -> Vec<Command> {
        let steps = self.empty().into_iter();
        steps.filter(|step| !step.is_abandoned()).map(Command::Step).collect()
    }

    /// Queues that somebody waits for.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.lines.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn empty(&mut self) -> Vec<Box<dyn Step>> {
        std::mem::take(self).lines.into_values().flatten().collect()
    }
}
