//! The calls that wait for room in a full queue. It limits their number and bytes, and refuses a handler whose wait could
//! keep the room from ever being made.

use std::collections::{BTreeMap, VecDeque};

use super::command::Command;
use super::step::{Step, WaitingHandler};
use crate::job::QueueId;

/// How many callers may wait for room at once, over all queues. Later callers are refused.
pub(super) const WAITERS_MAX: usize = 10_000;

/// How many bytes those callers may hold together: as many as may wait for the writer itself. One caller may always wait.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 20;

/// Callers that wait for room in a full queue, in the order in which they began to wait.
#[derive(Default)]
pub(super) struct WaitingRoom {
    by_queue: BTreeMap<QueueId, VecDeque<Box<dyn Step>>>,
    /// How many callers wait, and how many bytes they hold.
    waiters: usize,
    bytes: usize,
    /// The callers that are handlers, each with the queue for which it waits.
    handlers: Vec<(WaitingHandler, QueueId)>,
}

impl WaitingRoom {
    /// Whether one more caller may wait.
    pub fn has_room_for(&self, step: &dyn Step) -> bool {
        self.waiters == 0 || self.waiters < WAITERS_MAX && self.bytes.saturating_add(step.bytes()) <= WAITING_BYTES_MAX
    }

    /// Adds a caller that waits for room in `queue`, behind the others.
    pub fn add(&mut self, queue: QueueId, step: Box<dyn Step>) {
        self.waiters += 1;
        self.bytes = self.bytes.saturating_add(step.bytes());
        self.handlers.extend(step.handler().map(|handler| (handler, queue)));
        self.by_queue.entry(queue).or_default().push_back(step);
    }

    /// Whether a handler may wait for room in `queue`.
    ///
    /// Room is made by jobs that end, and those need slots, threads, and handlers that do not wait for each other. So a
    /// handler waits neither for its own queue nor for a queue whose handlers wait for it, directly or through other
    /// queues. And at least half of the slots and threads are held by handlers that do not wait.
    pub fn may_wait(&self, handler: WaitingHandler, queue: QueueId) -> bool {
        let Some(own) = handler.queue else { return false };
        let blocking = self.handlers.iter().filter(|(other, _)| other.blocking).count();
        let slots: usize = self.handlers.iter().map(|(other, _)| other.slots).sum();
        slots + handler.slots <= handler.most
            && (!handler.blocking || blocking < handler.most_blocking)
            && !self.waits_for(queue, own)
    }

    /// Whether handlers of `queue` wait for `other`, directly or through other queues, or `queue` is `other`.
    fn waits_for(&self, queue: QueueId, other: QueueId) -> bool {
        let mut reached = vec![queue];
        let mut checked = 0;
        while let Some(&from) = reached.get(checked) {
            if from == other {
                return true;
            }
            checked += 1;
            let next = self.handlers.iter().filter(|(handler, _)| handler.queue == Some(from)).map(|(_, to)| *to);
            for to in next {
                if !reached.contains(&to) {
                    reached.push(to);
                }
            }
        }
        false
    }

    /// Removes and returns all callers, in order, to be tried with the next commit. Once one of them finds its queue full, the
    /// others of that queue wait again without a try.
    pub fn all_to_try(&mut self) -> Vec<Command> {
        let steps = self.remove_all().into_iter();
        steps.filter(|step| !step.is_abandoned()).map(Command::Step).collect()
    }

    /// The queues for which callers wait.
    pub fn queues(&self) -> impl Iterator<Item = QueueId> {
        self.by_queue.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.by_queue.is_empty()
    }

    pub fn remove_all(&mut self) -> Vec<Box<dyn Step>> {
        std::mem::take(self).by_queue.into_values().flatten().collect()
    }
}
