//! The rows of the buckets in the file: reading them at the opening, which state to store, and which rows can be removed.

use std::collections::HashSet;

use super::bucket::{Bucket, Opened, Tokens};
use super::registry::Buckets;
use crate::job::{BucketKey, BucketState};
use crate::time::Now;

/// How many buckets are checked whenever a new one is made, to forget those that equal a new one. It is more than one, so
/// that their number goes down again.
const CHECKS_PER_BUCKET: usize = 2;

impl Buckets {
    /// Adds a bucket as it was read from the file at the opening.
    pub fn restore(&mut self, key: BucketKey, state: BucketState, crashed: bool, read: Now) {
        self.opened = Opened { at: read, crashed };
        let wait = state.held_until.map(|until| until.since(read.age)).filter(|wait| !wait.is_zero());
        let held_until = wait.map(|wait| read.mono.saturating_add(wait));
        let bucket = Bucket { tokens: Tokens::Stored(state), held_until, is_stored: true };
        self.queues.entry(key.queue).or_default().insert(key.group.as_ref(), bucket);
        self.to_check.push_back(key);
    }

    /// The state of a bucket to store; `None` if it equals a new one, which needs no row. Call it while the commit is made, so
    /// that states are stored in the order in which they arose.
    pub fn state_to_store(&mut self, key: &BucketKey, now: Now) -> Option<BucketState> {
        let opened = self.opened;
        let of_queue = self.queues.get_mut(&key.queue)?;
        let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
        let bucket = of_queue.get_mut(key.group.as_ref())?;
        if let (Some(rate), Tokens::Counted(_)) = (rate, bucket.tokens) {
            bucket.count(rate, &opened, now);
        }
        bucket.is_stored = !bucket.is_as_new(rate, unset_for, &opened, now);
        bucket.is_stored.then(|| bucket.state(&opened, now))
    }

    /// The states of all buckets to store when the file is closed in order: no reservation is left.
    pub fn states(&self, now: Now) -> Vec<(BucketKey, Option<BucketState>)> {
        let mut states = Vec::new();
        for (&queue, of_queue) in &self.queues {
            let own = of_queue.own.iter().map(|bucket| (None, bucket));
            let groups = of_queue.groups.iter().map(|(group, bucket)| (Some(group), bucket));
            for (group, bucket) in own.chain(groups) {
                let mut bucket = *bucket;
                let rate = of_queue.rate_of(group);
                match (&mut bucket.tokens, rate) {
                    (Tokens::Counted(counted), _) => {
                        (counted.granted, counted.reserving) = (0, 0);
                        if let Some(rate) = rate {
                            counted.refresh(rate, now);
                        }
                    }
                    // The file has this state already.
                    (Tokens::Stored(_), _) if !self.opened.crashed => continue,
                    (Tokens::Stored(_) | Tokens::Full, _) => {}
                }
                let differs = !bucket.is_as_new(rate, of_queue.forgets_after(), &self.opened, now);
                let state = differs.then(|| bucket.state(&self.opened, now));
                if state.is_some() || bucket.is_stored {
                    states.push((BucketKey { queue, group: group.cloned() }, state));
                }
            }
        }
        // The same rows in the same order give the same file.
        states.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        states
    }

    pub(super) fn note_new(&mut self, key: BucketKey, now: Now) {
        self.to_check.push_back(key);
        self.check(CHECKS_PER_BUCKET, now);
    }

    /// How many buckets there are, including those that are being forgotten.
    pub fn len(&self) -> usize {
        self.to_check.len() + self.to_forget.len()
    }

    /// Checks `checks` buckets. Those that equal a new one are forgotten, at once if the file has no row of them.
    fn check(&mut self, checks: usize, now: Now) {
        for _ in 0..checks.min(self.to_check.len()) {
            let Some(key) = self.to_check.pop_front() else { return };
            let Some(of_queue) = self.queues.get_mut(&key.queue) else { continue };
            let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
            match of_queue.get(key.group.as_ref()) {
                None => {}
                Some(bucket) if !bucket.is_as_new(rate, unset_for, &self.opened, now) => {
                    self.to_check.push_back(key);
                }
                Some(bucket) if bucket.is_stored => self.to_forget.push(key),
                Some(_) => of_queue.remove(key.group.as_ref()),
            }
        }
    }

    /// Checks `checks` more buckets, and returns at most `rows_max` of those that can be forgotten. Each is returned once:
    /// call [`Self::forget`] when its row is removed.
    pub fn forgettable(&mut self, checks: usize, rows_max: usize, now: Now) -> Vec<BucketKey> {
        self.check(checks, now);
        let at = self.to_forget.len().saturating_sub(rows_max);
        self.to_forget.split_off(at)
    }

    /// Forgets a bucket, unless it differs from a new one again. Returns true if its row must be removed.
    pub fn forget(&mut self, key: &BucketKey, now: Now) -> bool {
        let Some(of_queue) = self.queues.get_mut(&key.queue) else { return true };
        let (rate, unset_for) = (of_queue.rate_of(key.group.as_ref()), of_queue.forgets_after());
        let Some(bucket) = of_queue.get(key.group.as_ref()) else { return true };
        if bucket.is_as_new(rate, unset_for, &self.opened, now) {
            of_queue.remove(key.group.as_ref());
            return true;
        }
        self.to_check.push_back(key.clone());
        false
    }

    /// The rows of these buckets, which [`Self::forgettable`] has returned, could not be removed: they are checked again.
    pub fn not_forgotten(&mut self, keys: &[BucketKey]) {
        let again: HashSet<&BucketKey> = keys.iter().collect();
        self.to_check.retain(|key| !again.contains(key));
        for key in keys {
            let of_queue = self.queues.entry(key.queue).or_default();
            if of_queue.get(key.group.as_ref()).is_none() {
                of_queue.insert(key.group.as_ref(), Bucket::full());
            }
            let bucket = of_queue.get_mut(key.group.as_ref()).expect("it was inserted above");
            bucket.is_stored = true;
        }
        self.to_check.extend(keys.iter().cloned());
    }
}
