use std::collections::{BTreeMap, VecDeque};

use super::Command;
use super::step::Step;
use crate::job::QueueId;

/// Callers that may wait for room at once, over all queues. Who comes later is refused.
pub(super) const WAITERS_MAX: usize = 10_000;

/// Callers who wait for room in a full queue, in the order they came.
#[derive(Default)]
pub(super) struct WaitingRoom {
    lines: BTreeMap<QueueId, VecDeque<Box<dyn Step>>>,
}

impl WaitingRoom {
    /// At the end of the line for `queue`.
    pub fn enter(&mut self, queue: QueueId, step: Box<dyn Step>) {
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

    pub fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum()
    }

    pub fn empty(&mut self) -> Vec<Box<dyn Step>> {
        std::mem::take(&mut self.lines).into_values().flatten().collect()
    }
}
