//! The calls about rates. Each concerns a bucket, and wakes the queue that it may let start something.

use std::time::Duration;

use super::state::Scheduler;
use crate::job::{BucketKey, BucketState};
use crate::time::Now;

impl Scheduler {
    /// Adds a bucket from the file. `crashed` says that the process that wrote it died.
    pub fn restore_bucket(&mut self, key: BucketKey, state: BucketState, crashed: bool, now: Now) {
        self.buckets.restore(key, state, crashed, now);
    }

    pub fn refuse_reservation(&mut self, key: &BucketKey) {
        self.buckets.refused(key);
        self.reservation_answered(key);
    }

    pub(super) fn reservation_answered(&mut self, key: &BucketKey) {
        if let Some(group) = &key.group {
            self.queues.get_or_make(key.queue).reservation_answered(group);
            self.note(key.queue);
        }
        self.wake(key.queue);
        self.chores_changed = true;
    }

    pub fn limited_for(&self, key: &BucketKey, now: Now) -> Option<Duration> {
        self.buckets.wait(key.queue, key.group.as_ref(), now)
    }

    /// Takes tokens for the application. Returns whether that must be made durable.
    ///
    /// # Errors
    /// Returns how long until there are enough.
    pub fn take_tokens(&mut self, key: &BucketKey, tokens: u32, now: Now) -> Result<bool, Duration> {
        self.buckets.take_by_hand(key, tokens, now)
    }

    /// Returns tokens that [`Self::take_tokens`] took, because that could not be made durable.
    pub fn give_tokens_back(&mut self, key: &BucketKey, tokens: u32) {
        self.buckets.give_back(key, tokens);
    }

    /// The state of a bucket that must be stored now; `None` if its row must be removed. Call it while the commit is made that
    /// stores it.
    pub fn bucket_to_store(&mut self, key: &BucketKey, now: Now) -> Option<BucketState> {
        self.buckets.state_to_store(key, now)
    }

    pub fn tokens(&self, key: &BucketKey, now: Now) -> f64 {
        self.buckets.level(key, now)
    }

    pub fn fill_bucket(&mut self, key: &BucketKey, now: Now) {
        self.buckets.fill(key, now);
        if let Some(group) = &key.group {
            self.queues.get_or_make(key.queue).group_opened(group);
        }
        self.note(key.queue);
        self.wake(key.queue);
        self.chores_changed = true;
    }

    /// The states of all buckets for a clean stop: unused reservations are added to their levels again.
    pub fn bucket_states(&self, now: Now) -> Vec<(BucketKey, Option<BucketState>)> {
        self.buckets.states(now)
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Checks `checks` buckets, and returns at most `rows_max` of those whose rows say the same as a new bucket.
    pub fn buckets_to_forget(&mut self, checks: usize, rows_max: usize, now: Now) -> Vec<BucketKey> {
        self.buckets.forgettable(checks, rows_max, now)
    }

    /// The rows of these buckets could not be removed.
    pub fn buckets_not_forgotten(&mut self, keys: &[BucketKey]) {
        self.buckets.not_forgotten(keys);
    }

    /// Forgets such a bucket. Returns false if it differs from a new one by now, so that its row must be kept. Call it while
    /// the commit is made that removes the row.
    pub fn forget_bucket(&mut self, key: &BucketKey, now: Now) -> bool {
        self.buckets.forget(key, now)
    }
}
