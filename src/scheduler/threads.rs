//! Threads for blocking handlers: how many are free, and which queues wait for one.

use super::waiting_queues::WaitingQueues;
use crate::job::{IdSet, QueueId};

/// Threads for blocking handlers, and the queues whose next job waits for one.
///
/// A job that needs a thread is handed out only when one is free, so that it holds no slot while it waits. Its queue waits
/// with it, because its jobs start in order; other queues go on. Queues get threads in the order in which they began to
/// wait.
#[derive(Debug)]
pub(super) struct Threads {
    pub max: usize,
    /// Queues that have found no thread.
    waiting: WaitingQueues,
    /// Queues that have waited and for which a thread is reserved until they were asked for their next job.
    reserved: IdSet<QueueId>,
}

impl Threads {
    pub fn new(max: usize) -> Self {
        Self { max, waiting: WaitingQueues::default(), reserved: IdSet::default() }
    }

    /// How many threads are neither occupied nor reserved for a queue.
    fn free(&self, occupied: usize) -> usize {
        self.max.saturating_sub(occupied).saturating_sub(self.reserved.len())
    }

    /// Whether a job of this queue gets a thread while `occupied` threads are in use. A queue for which none is reserved does
    /// not overtake the waiting ones.
    pub fn is_free_for(&self, queue: QueueId, occupied: usize) -> bool {
        self.reserved.contains(&queue) || self.free(occupied) > self.waiting.len()
    }

    /// Whether a thread is free that is not reserved for a queue, even if queues wait for it.
    pub fn has_free(&self, occupied: usize) -> bool {
        self.free(occupied) > 0
    }

    /// Whether a queue waits and a thread is free for it.
    pub fn is_waited_for(&self, occupied: usize) -> bool {
        !self.waiting.is_empty() && self.free(occupied) > 0
    }

    /// Reserves a free thread for the next waiting queue, and returns the queue: it must be asked for its next job now.
    pub fn reserve(&mut self, occupied: usize) -> Option<QueueId> {
        if !self.is_waited_for(occupied) {
            return None;
        }
        let queue = self.waiting.pop_first()?;
        self.reserved.insert(queue);
        Some(queue)
    }

    /// The queue is asked for its next job: it uses its reserved thread now, or the thread is free for other queues.
    pub fn asked(&mut self, queue: QueueId) {
        if !self.reserved.is_empty() {
            self.reserved.remove(&queue);
        }
    }

    /// The next job of this queue waits for a thread.
    pub fn wait(&mut self, queue: QueueId) {
        self.waiting.add(queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_reserved_for_the_first_waiting_queue_until_that_was_asked() {
        let mut threads = Threads::new(2);
        assert!(threads.is_free_for(1, 1));
        assert!(!threads.is_free_for(1, 2));
        threads.wait(1);
        threads.wait(2);
        threads.wait(1);
        assert_eq!(threads.reserve(2), None);
        assert!(!threads.is_free_for(3, 1), "it would overtake the waiting queues");
        assert_eq!((threads.reserve(1), threads.reserve(1)), (Some(1), None));
        assert!(threads.is_free_for(1, 1) && !threads.is_free_for(2, 1) && !threads.is_free_for(3, 1));
        threads.asked(1);
        assert_eq!((threads.reserve(1), threads.reserve(1)), (Some(2), None), "the first did not use it");
        threads.asked(2);
        assert!(threads.is_free_for(3, 1) && !threads.is_waited_for(1));
    }
}
