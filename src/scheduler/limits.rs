//! The limits that the scheduler is given: of its memory, and of a worker.

use std::sync::Arc;
use std::time::Duration;

use super::shared_limits::LimitKey;
use crate::job::{Aging, CircuitBreaker, Feeding, IdMap, IdSet, KindId, Kinds, Rate, WorkerSettings};

/// How many ready jobs of a queue are held in memory. The limits apply separately to jobs with and without a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowLimits {
    pub jobs_max: usize,
    pub bytes_max: usize,
    /// The start mark of a run that lasts this long is written.
    pub mark_after: Duration,
}

/// A worker's limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorkerLimits {
    pub kinds: Kinds,
    /// The kinds whose handlers need a thread.
    pub blocking: IdSet<KindId>,
    pub concurrency: usize,
    pub rate: Option<Rate>,
    pub group_rate: Option<Rate>,
    pub circuit_breaker: Option<CircuitBreaker>,
    pub group_circuit_breaker: Option<CircuitBreaker>,
    /// The limits that the jobs of a kind share with others. Most kinds have none.
    pub shared: IdMap<Arc<[LimitKey]>, KindId>,
    /// How many jobs of these kinds may run at a time.
    pub concurrency_of: Vec<(KindId, u32)>,
    /// `None`: the priorities of jobs are strict.
    pub aging: Option<Aging>,
    /// Of equally urgent jobs the newest one starts first.
    pub newest_first: bool,
    /// The stream from which the queue is fed, if it is the queue of a consumer.
    pub feeding: Option<Feeding>,
}

impl WorkerLimits {
    /// What the worker says, without what an operator has set.
    pub fn own(&self) -> WorkerSettings {
        WorkerSettings::new(self.concurrency, self.rate, self.group_rate)
            .with_breakers(self.circuit_breaker, self.group_circuit_breaker)
    }

    /// How many limits the jobs of the queue share.
    pub fn shared_limits(&self) -> usize {
        let keys: std::collections::BTreeSet<_> = self.shared.values().flat_map(|keys| keys.iter()).collect();
        keys.len()
    }
}
