//! The queues that were removed since the file was opened. A caller's thread looks up the number of a job's queue, and the
//! queue can be removed before the writer stores the job. The number can be another queue's by then, so the writer looks here
//! which queue the caller meant.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::job::QueueId;

/// How many removed queues are remembered. A call that was under way while more queues than that were removed fails.
const FORMER_QUEUES_MAX: usize = 65_536;

/// Which queue had a number at an earlier time.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) enum FormerQueue {
    /// The one that has it now.
    Same,
    /// One of this name, which was removed since.
    Removed(Arc<str>),
    /// It is not known any more.
    Unknown,
}

#[derive(Debug, Default)]
pub(in crate::storage) struct FormerQueues {
    /// The latest ones, in the order in which they were removed.
    latest: VecDeque<(QueueId, Arc<str>)>,
    removals: u32,
    /// How many of their jobs had become dead letters.
    dead_total: u64,
}

impl FormerQueues {
    /// How many queues were removed.
    pub fn removals(&self) -> u32 {
        self.removals
    }

    pub fn dead_total(&self) -> u64 {
        self.dead_total
    }

    pub fn add(&mut self, id: QueueId, name: Arc<str>, dead_total: u64) {
        self.removals = self.removals.wrapping_add(1);
        self.dead_total += dead_total;
        self.latest.push_back((id, name));
        if self.latest.len() > FORMER_QUEUES_MAX {
            self.latest.pop_front();
        }
    }

    /// Which queue had this number when so many queues were removed.
    pub fn of(&self, id: QueueId, removals: u32) -> FormerQueue {
        let since = self.removals.wrapping_sub(removals) as usize;
        let Some(begin) = self.latest.len().checked_sub(since) else { return FormerQueue::Unknown };
        let first = self.latest.range(begin..).find(|(removed, _)| *removed == id);
        first.map_or(FormerQueue::Same, |(_, name)| FormerQueue::Removed(name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_the_queue_that_had_it_at_that_time() {
        let mut former = FormerQueues::default();
        former.add(7, "first".into(), 0);
        former.add(3, "other".into(), 0);
        former.add(7, "second".into(), 0);
        assert_eq!(former.of(7, 0), FormerQueue::Removed("first".into()));
        assert_eq!(former.of(7, 1), FormerQueue::Removed("second".into()));
        assert_eq!(former.of(7, 3), FormerQueue::Same);
        assert_eq!(former.of(3, 2), FormerQueue::Same);
        assert_eq!(former.of(9, 0), FormerQueue::Same);
    }

    #[test]
    fn what_was_forgotten_is_unknown() {
        let mut former = FormerQueues::default();
        for id in 0..=FORMER_QUEUES_MAX as QueueId {
            former.add(id, "q".into(), 0);
        }
        assert_eq!(former.latest.len(), FORMER_QUEUES_MAX);
        assert_eq!(former.of(0, 0), FormerQueue::Unknown);
        assert_eq!(former.of(0, 1), FormerQueue::Same);
        assert_eq!(former.of(1, 1), FormerQueue::Removed("q".into()));
    }
}
