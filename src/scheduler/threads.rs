//! Counts the threads for blocking handlers, and keeps the queues whose next job waits for one.

use std::collections::VecDeque;

use crate::job::{IdSet, QueueId};

/// Threads for blocking handlers, and the queues whose next job waits for one.
///
/// A job that needs a thread is handed out only when one is free, so that none of them holds a slot while it
/// waits. Its queue waits with it, because its jobs go in order; other queues go on. Queues get threads in the
/// order in which they came into line.
#[derive(Debug)]
pub(super) struct Threads {
    pub max: usize,
    /// Queues in the order in which they found no thread.
    line: VecDeque<QueueId>,
    in_line: IdSet<QueueId>,
    /// Queues out of the line for which a thread is kept until they have been asked for their next job.
    called: IdSet<QueueId>,
}

impl Threads {
    pub fn new(max: usize) -> Self {
        Self { max, line: VecDeque::new(), in_line: IdSet::default(), called: IdSet::default() }
    }

    /// Threads that are neither taken nor kept for a queue.
    fn left(&self, taken: usize) -> usize {
        self.max.saturating_sub(taken).saturating_sub(self.called.len())
    }

    /// Whether a job of this queue gets a thread while so many are taken. One that comes from elsewhere goes behind
    /// those in line.
    pub fn is_free_for(&self, queue: QueueId, taken: usize) -> bool {
        self.called.contains(&queue) || self.left(taken) > self.line.len()
    }

    /// A thread is free that is not kept for a queue, which may be one in line.
    pub fn has_free(&self, taken: usize) -> bool {
        self.left(taken) > 0
    }

    /// A thread is free that a queue waits for.
    pub fn is_waited_for(&self, taken: usize) -> bool {
        !self.line.is_empty() && self.left(taken) > 0
    }

    /// The next queue in line, if there is a thread for it: it is to be asked now.
    pub fn call(&mut self, taken: usize) -> Option<QueueId> {
        if !self.is_waited_for(taken) {
            return None;
        }
        let queue = self.line.pop_front()?;
        self.in_line.remove(&queue);
        self.called.insert(queue);
        Some(queue)
    }

    /// The queue is asked for its next job: it takes a thread now, or leaves it to others.
    pub fn asked(&mut self, queue: QueueId) {
        self.called.remove(&queue);
    }

    /// The next job of this queue waits for a thread.
    pub fn line_up(&mut self, queue: QueueId) {
        if self.in_line.insert(queue) {
            self.line.push_back(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_kept_for_the_first_in_line_until_it_has_been_asked() {
        let mut threads = Threads::new(2);
        assert!(threads.is_free_for(1, 1));
        assert!(!threads.is_free_for(1, 2));
        threads.line_up(1);
        threads.line_up(2);
        threads.line_up(1);
        assert_eq!(threads.call(2), None);
        assert!(!threads.is_free_for(3, 1), "it would overtake those in line");
        assert_eq!((threads.call(1), threads.call(1)), (Some(1), None));
        assert!(threads.is_free_for(1, 1) && !threads.is_free_for(2, 1) && !threads.is_free_for(3, 1));
        threads.asked(1);
        assert_eq!((threads.call(1), threads.call(1)), (Some(2), None), "the first did not use it");
        threads.asked(2);
        assert!(threads.is_free_for(3, 1) && !threads.is_waited_for(1));
    }
}
