//! What commits have cost. Counted once for each commit, so that a job costs nothing here.

use std::time::Duration;

use crate::sync::atomic::{AtomicU64, Ordering};

/// What one commit has cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommitCost {
    /// How many operations it has written.
    pub operations: usize,
    /// How long the storage engine took to make it durable.
    pub took: Duration,
}

/// What the commits since the file was opened have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitCosts {
    pub commits_total: u64,
    pub operations_total: u64,
    pub operations_latest: u64,
    pub time_total: Duration,
    pub time_latest: Duration,
    pub time_max: Duration,
}

/// The counters behind [`CommitCosts`]. Only the thread that has the commit turn writes them, so they need no lock.
#[derive(Debug, Default)]
pub(super) struct CommitCounters {
    commits: AtomicU64,
    operations: AtomicU64,
    operations_latest: AtomicU64,
    nanos: AtomicU64,
    nanos_latest: AtomicU64,
    nanos_max: AtomicU64,
}

impl CommitCounters {
    pub fn add(&self, cost: CommitCost) {
        let (operations, nanos) = (cost.operations as u64, nanos(cost.took));
        self.operations.fetch_add(operations, Ordering::Relaxed);
        self.operations_latest.store(operations, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.nanos_latest.store(nanos, Ordering::Relaxed);
        self.nanos_max.fetch_max(nanos, Ordering::Relaxed);
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub fn read(&self) -> CommitCosts {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        CommitCosts {
            commits_total: self.commits(),
            operations_total: self.operations.load(Ordering::Relaxed),
            operations_latest: self.operations_latest.load(Ordering::Relaxed),
            time_total: time(&self.nanos),
            time_latest: time(&self.nanos_latest),
            time_max: time(&self.nanos_max),
        }
    }
}

/// 584 years are the most.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_the_latest_and_the_longest_commit_are_kept() {
        let (counters, ms) = (CommitCounters::default(), Duration::from_millis);
        for (operations, took) in [(3, ms(2)), (5, ms(7)), (1, ms(4))] {
            counters.add(CommitCost { operations, took });
        }
        let costs = counters.read();
        assert_eq!((costs.commits_total, costs.operations_total, costs.operations_latest), (3, 9, 1));
        assert_eq!((costs.time_total, costs.time_latest, costs.time_max), (ms(13), ms(4), ms(7)));
    }
}
