//! Ready jobs of one queue that cannot start because a shared limit is used up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::limits::WindowLimits;
use super::shared_limits::LimitKey;
use crate::job::{AgedRow, IdMap, JobId, ReadyJob};
use crate::time::Timestamp;

/// The place of a job among those of its queue that wait for a limit: the priority as which it counted when it began to wait, then
/// the number that it got at that time. The positions of jobs with and without a group are from different counters, so they do
/// not say which of the two has waited longer.
type Place = (u8, u64);

/// The jobs of a queue that were popped and wait for a shared limit, by limit. Each limit has room for an equal part of
/// what a window may hold. Jobs beyond that are passed over: they stay in the table, which is read again from its start
/// once those that were kept have started.
#[derive(Debug)]
pub(crate) struct Limited {
    /// In an order of its own, because jobs are offered their units in this order: a run with the same events is the same.
    by_limit: BTreeMap<LimitKey, Waiting>,
    limit_of: IdMap<(LimitKey, Place)>,
    /// The jobs that were offered their units and have not been chosen since, one for each limit. The jobs behind them do not
    /// overtake them.
    offered: BTreeMap<LimitKey, (JobId, Place)>,
    /// The numbers of jobs that have waited and may have to wait again: they keep their places.
    numbers: IdMap<u64>,
    next_number: u64,
    limits: WindowLimits,
    /// How many limits the queue's jobs share.
    shares: usize,
}

/// A job that waits for a limit.
#[derive(Clone, Debug)]
pub(crate) struct LimitedJob {
    pub job: Arc<ReadyJob>,
    /// Since when it waits, if it was chosen because of that.
    pub aged_since: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: BTreeMap<Place, LimitedJob>,
    bytes: usize,
    /// The first job that was passed over. None of the jobs behind it is here.
    passed_over: Option<Place>,
}

impl Limited {
    pub fn new(limits: WindowLimits) -> Self {
        let (by_limit, limit_of, offered, numbers) = Default::default();
        Self { by_limit, limit_of, offered, numbers, next_number: 0, limits, shares: 1 }
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

    /// Whether a job of the queue that comes before this one, which counts as `priority`, waits for the limit.
    pub fn comes_behind(&self, key: LimitKey, id: JobId, priority: u8) -> bool {
        let waiting = self.by_limit.get(&key);
        let first = waiting.and_then(|waiting| waiting.jobs.first_key_value()).map(|(place, _)| *place);
        let passed_over = waiting.and_then(|waiting| waiting.passed_over);
        let offered = self.offered.get(&key).filter(|(offered, _)| *offered != id).map(|(_, place)| *place);
        let own = self.limit_of.get(&id).map(|(_, place)| *place);
        let number = || self.numbers.get(&id).copied().unwrap_or(u64::MAX);
        let own = own.unwrap_or_else(|| (priority, number()));
        [first, passed_over, offered].into_iter().flatten().any(|first| first < own)
    }

    /// Sets how many limits the queue's jobs share.
    pub fn set_shares(&mut self, limits: usize) {
        self.shares = limits.max(1);
    }

    /// Keeps a job, which counts as `priority`, until the limit has room.
    pub fn keep(&mut self, key: LimitKey, waits: LimitedJob, priority: u8) {
        let (jobs_max, bytes_max) = ((self.limits.jobs_max / self.shares).max(1), self.limits.bytes_max / self.shares);
        let id = waits.job.id;
        let number = self.numbers.remove(&id).unwrap_or(self.next_number);
        self.next_number = self.next_number.max(number + 1);
        let waiting = self.by_limit.entry(key).or_default();
        let place = (priority, number);
        if waiting.passed_over.is_some_and(|passed_over| passed_over < place) {
            return;
        }
        waiting.bytes += waits.job.bytes as usize;
        self.limit_of.insert(id, (key, place));
        waiting.jobs.insert(place, waits);
        while waiting.jobs.len() > jobs_max || (waiting.bytes > bytes_max && waiting.jobs.len() > 1) {
            tracing::trace!("a job that waits for a shared limit is passed over");
            let (place, waits) = waiting.jobs.pop_last().expect("there is more than one");
            waiting.bytes -= waits.job.bytes as usize;
            waiting.passed_over = Some(place);
            self.limit_of.remove(&waits.job.id);
        }
    }

    /// The job that waits first for the limit.
    pub fn first(&self, key: LimitKey) -> Option<&Arc<ReadyJob>> {
        self.by_limit.get(&key)?.jobs.first_key_value().map(|(_, waits)| &waits.job)
    }

    /// Whether a job that comes before all that wait for the limit was offered units of it, and has not been chosen since. A job
    /// that comes before the offered one must be offered them too: the offered one may stand behind a long backlog.
    pub fn is_offering(&self, key: LimitKey) -> bool {
        let Some((_, offered)) = self.offered.get(&key) else { return false };
        let waiting = self.by_limit.get(&key).and_then(|waiting| waiting.jobs.first_key_value());
        waiting.is_none_or(|(first, _)| offered < first)
    }

    /// Removes and returns the job that waits first for the limit: it is offered its units, and keeps its place until it was
    /// [chosen](Self::chosen).
    pub fn offer(&mut self, key: LimitKey) -> Option<LimitedJob> {
        let id = self.first(key)?.id;
        let (_, place) = *self.limit_of.get(&id)?;
        let waits = self.take_out(id)?;
        self.offered.insert(key, (id, place));
        self.numbers.insert(id, place.1);
        Some(waits)
    }

    /// Removes a job that counts as more urgent now than when it began to wait.
    pub fn raise(&mut self, row: &AgedRow, priority: u8) -> bool {
        let id = row.job.id;
        let Some((_, (before, number))) = self.limit_of.get(&id).copied() else { return false };
        let is_raised = priority < before && self.take_out(id).is_some();
        if is_raised {
            self.numbers.insert(id, number);
        }
        is_raised
    }

    /// The job was chosen: it starts now, or waits for something else.
    pub fn chosen(&mut self, id: JobId) {
        if !self.offered.is_empty() {
            self.offered.retain(|_, (offered, _)| *offered != id);
        }
    }

    /// Removes a job that has started or has left its table. Returns true if others can have waited for it.
    pub fn remove(&mut self, id: JobId) -> bool {
        if self.limit_of.is_empty() && self.numbers.is_empty() {
            // No job of the queue waits or has waited for a limit.
            return false;
        }
        let offered = self.offered.len();
        self.chosen(id);
        self.numbers.remove(&id);
        self.take_out(id).is_some() || self.offered.len() < offered
    }

    fn take_out(&mut self, id: JobId) -> Option<LimitedJob> {
        let (key, place) = self.limit_of.remove(&id)?;
        let waiting = self.by_limit.get_mut(&key)?;
        let waits = waiting.jobs.remove(&place)?;
        waiting.bytes -= waits.job.bytes as usize;
        if waiting.jobs.is_empty() && waiting.passed_over.is_none() {
            self.by_limit.remove(&key);
        }
        Some(waits)
    }

    pub fn clear(&mut self) {
        self.by_limit.clear();
        self.limit_of.clear();
        self.offered.clear();
        self.numbers.clear();
    }

    /// How many jobs it has in memory.
    pub fn len(&self) -> usize {
        self.limit_of.len()
    }
}
