//! The calls that wait for room in a full queue. It limits their number and bytes, and refuses a handler whose wait could
//! keep the room from ever being made.

use std::collections::{BTreeMap, VecDeque};

use super::Command;
use super::step::{Step, WaitingHandler};
use crate::job::QueueId;

/// Callers that may wait for room at once, over all queues. Later callers are refused.
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
    /// Those of them that are handlers, each with the queue for which it waits.
    handlers: Vec<(WaitingHandler, QueueId)>,
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
        self.handlers.extend(step.handler().map(|handler| (handler, queue)));
        self.lines.entry(queue).or_default().push_back(step);
    }

    /// Whether a handler may wait for room in `queue`.
    ///
    /// Room is made by jobs that end, and those need slots, threads, and handlers that do not wait for each other. So
    /// nobody waits for its own queue, nor for one whose handlers wait for it by way of any others, and at least
    /// half of the slots and threads are held by handlers that do not wait.
    pub fn may_wait(&self, handler: WaitingHandler, queue: QueueId) -> bool {
        let Some(own) = handler.queue else { return false };
        let blocking = self.handlers.iter().filter(|(other, _)| other.blocking).count();
        self.handlers.len() < handler.most
            && (!handler.blocking || blocking < handler.most_blocking)
            && !self.waits_for(queue, own)
    }

    /// Whether handlers of `queue` wait for `other`, perhaps by way of a third queue, or it is that one.
    fn waits_for(&self, queue: QueueId, other: QueueId) -> bool {
        let mut reached = vec![queue];
        let mut looked_at = 0;
        while let Some(&from) = reached.get(looked_at) {
            if from == other {
                return true;
            }
            looked_at += 1;
            let next = self.handlers.iter().filter(|(handler, _)| handler.queue == Some(from)).map(|(_, to)| *to);
            for to in next {
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        false
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
