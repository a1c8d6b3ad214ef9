//! Ready jobs of one queue that cannot start because a shared limit is used up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::limits::WindowLimits;
use super::shared_limits::LimitKey;
use crate::job::{IdMap, JobId, Order, ReadyJob};

/// The position of a job among those of its queue with and without a group.
pub(super) type Place = (Order, bool);

fn place(job: &ReadyJob) -> Place {
    (job.order, job.is_grouped())
}

/// The jobs of a queue that were popped and wait for a shared limit, by limit. Each limit has room for an equal part of
/// what a window may hold. Jobs beyond that are passed over: they stay in the table, which is read again from its start
/// once those that were kept have started.
#[derive(Debug)]
pub(crate) struct Limited {
    /// In an order of its own, because jobs are offered their units in this order: a run with the same events is the same.
    by_limit: BTreeMap<LimitKey, Waiting>,
    limit_of: IdMap<(LimitKey, Place)>,
    limits: WindowLimits,
    /// How many limits the queue's jobs share.
    shares: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: BTreeMap<Place, Arc<ReadyJob>>,
    bytes: usize,
    /// The first job that was passed over. None of the jobs behind it is here.
    passed_over: Option<Place>,
}

impl Limited {
    pub fn new(limits: WindowLimits) -> Self {
        Self { by_limit: BTreeMap::new(), limit_of: IdMap::default(), limits, shares: 1 }
    }

    pub fn is_empty(&self) -> bool {
        self.by_limit.is_empty()
    }

    /// The limits for which a job waits.
    pub fn keys(&self) -> impl Iterator<Item = LimitKey> {
        self.by_limit.keys().copied()
    }

    pub fn holds(&self, id: JobId) -> bool {
        self.limit_of.contains_key(&id)
    }

    /// The limit for which a job waits.
    pub fn limit_of(&self, id: JobId) -> Option<LimitKey> {
        self.limit_of.get(&id).map(|(key, _)| *key)
    }

    pub fn waits_for(&self, key: LimitKey) -> bool {
        self.by_limit.contains_key(&key)
    }

    /// Whether a job of the queue that comes before this place waits for the limit.
    pub fn comes_behind(&self, key: LimitKey, (order, grouped): Place) -> bool {
        let Some(waiting) = self.by_limit.get(&key) else { return false };
        let first = waiting.jobs.first_key_value().map(|(place, _)| *place);
        [first, waiting.passed_over].into_iter().flatten().any(|first| first < (order, grouped))
    }

    /// Sets how many limits the queue's jobs share.
    pub fn set_shares(&mut self, limits: usize) {
        self.shares = limits.max(1);
    }

    /// Keeps a job until the limit has room.
    pub fn keep(&mut self, key: LimitKey, job: Arc<ReadyJob>) {
        let (jobs_max, bytes_max) = ((self.limits.jobs_max / self.shares).max(1), self.limits.bytes_max / self.shares);
        let waiting = self.by_limit.entry(key).or_default();
        let place = place(&job);
        if waiting.passed_over.is_some_and(|passed_over| passed_over < place) {
            return;
        }
        waiting.bytes += job.bytes as usize;
        self.limit_of.insert(job.id, (key, place));
        waiting.jobs.insert(place, job);
        while waiting.jobs.len() > jobs_max || (waiting.bytes > bytes_max && waiting.jobs.len() > 1) {
            tracing::trace!("a job that waits for a shared limit is passed over");
            let (place, job) = waiting.jobs.pop_last().expect("there is more than one");
            waiting.bytes -= job.bytes as usize;
            waiting.passed_over = Some(place);
            self.limit_of.remove(&job.id);
        }
    }

    /// The job that waits first for the limit.
    pub fn first(&self, key: LimitKey) -> Option<&Arc<ReadyJob>> {
        self.by_limit.get(&key)?.jobs.first_key_value().map(|(_, job)| job)
    }

    /// Removes and returns the job that waits first for the limit.
    pub fn pop(&mut self, key: LimitKey) -> Option<Arc<ReadyJob>> {
        let id = self.first(key)?.id;
        self.remove(id)
    }

    /// Removes a job, and returns it if it was here.
    pub fn remove(&mut self, id: JobId) -> Option<Arc<ReadyJob>> {
        let (key, place) = self.limit_of.remove(&id)?;
        let waiting = self.by_limit.get_mut(&key)?;
        let job = waiting.jobs.remove(&place)?;
        waiting.bytes -= job.bytes as usize;
        if waiting.jobs.is_empty() && waiting.passed_over.is_none() {
            self.by_limit.remove(&key);
        }
        Some(job)
    }

    pub fn clear(&mut self) {
        self.by_limit.clear();
        self.limit_of.clear();
    }

    /// How many jobs it has in memory.
    pub fn len(&self) -> usize {
        self.limit_of.len()
    }
}
