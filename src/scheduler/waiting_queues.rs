//! Queues that wait for something, in the order in which they began to wait.

use std::collections::VecDeque;

use crate::job::{IdSet, QueueId};

/// Each queue is in it at most once.
#[derive(Debug, Default)]
pub(super) struct WaitingQueues {
    order: VecDeque<QueueId>,
    /// The same queues, to be found by number.
    members: IdSet<QueueId>,
}

impl WaitingQueues {
    /// Adds a queue at the end, unless it waits already.
    pub fn add(&mut self, queue: QueueId) {
        if self.members.insert(queue) {
            self.order.push_back(queue);
        }
    }

    /// The queue that has waited for the longest time.
    pub fn first(&self) -> Option<QueueId> {
        self.order.front().copied()
    }

    /// Removes and returns the queue that has waited for the longest time.
    pub fn pop_first(&mut self) -> Option<QueueId> {
        let queue = self.order.pop_front()?;
        self.members.remove(&queue);
        Some(queue)
    }

    /// Removes a queue. Returns false if it does not wait.
    pub fn remove(&mut self, queue: QueueId) -> bool {
        let waits = self.members.remove(&queue);
        if waits {
            self.order.retain(|waiting| *waiting != queue);
        }
        waits
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
