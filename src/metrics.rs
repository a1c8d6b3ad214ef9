//! What has been counted since the queue was opened. Per-queue counts are kept with the data: see
//! [`Counts`](crate::Counts).

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::job::{Ending, FailureKind};

/// Counters since the queue was opened.
///
/// ```
/// # use millpond::{*, testing::{drain, in_memory, ManualClock}};
/// # #[derive(serde::Serialize, serde::Deserialize)] struct Charge { order: u64 }
/// # impl Kind for Charge { const KIND: &'static str = "charge"; }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let pond = in_memory(&ManualClock::new())?;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { if true { panic!("boom") }; Ok(()) }).start()?;
/// # pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// let MetricsSnapshot { starts_total, failed_total, panics_total, .. } = pond.metrics();
/// println!("{starts_total} attempts, {failed_total} failed, {panics_total} of them by a panic");
/// # assert_eq!((starts_total, failed_total, panics_total), (1, 1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Commits made.
    pub commits_total: u64,
    /// Attempts started.
    pub starts_total: u64,
    /// Attempts that ended well.
    pub completed_total: u64,
    /// Attempts whose handlers returned an error, asked for a retry, panicked or ran into their
    /// timeout, or whose writes with the completion failed.
    pub failed_total: u64,
    /// Of those, panics.
    pub panics_total: u64,
    /// Of those, timeouts.
    pub timeouts_total: u64,
    /// Jobs that were not stored, because one with their unique key was there.
    pub deduplicated_total: u64,
    /// Rows set aside because they could not be read.
    pub quarantined_total: u64,
    /// Ended jobs removed by retention.
    pub pruned_total: u64,
    /// Times the file was compacted.
    pub compactions_total: u64,
    /// Blocking handlers that have outlived their timeout and keep their slots, now.
    pub stuck: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    commits: AtomicU64,
    starts: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
    deduplicated: AtomicU64,
    quarantined: AtomicU64,
    pruned: AtomicU64,
    compactions: AtomicU64,
}

impl Metrics {
    pub fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub fn compacted(&self) {
        self.compactions.fetch_add(1, Ordering::Relaxed);
    }

    pub fn started(&self) {
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    pub fn ended(&self, ending: &Ending) {
        match ending {
            Ending::Done(_) => self.completed.fetch_add(1, Ordering::Relaxed),
            Ending::Failed { kind, .. } => {
                match kind {
                    FailureKind::Panic => self.panics.fetch_add(1, Ordering::Relaxed),
                    FailureKind::Timeout => self.timeouts.fetch_add(1, Ordering::Relaxed),
                    _ => 0,
                };
                self.failed.fetch_add(1, Ordering::Relaxed)
            }
            Ending::Undecodable(_) | Ending::DeadLetter(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// An attempt that wrote something with its completion, and whose end is durable.
    pub fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt whose writes with its completion failed.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn deduplicated(&self, jobs: u64) {
        if jobs > 0 {
            self.deduplicated.fetch_add(jobs, Ordering::Relaxed);
        }
    }

    pub fn quarantined(&self, records: u64) {
        if records > 0 {
            self.quarantined.fetch_add(records, Ordering::Relaxed);
        }
    }

    pub fn pruned(&self, records: u64) {
        if records > 0 {
            self.pruned.fetch_add(records, Ordering::Relaxed);
        }
    }

    pub fn snapshot(&self, stuck: usize) -> MetricsSnapshot {
        MetricsSnapshot {
            commits_total: self.commits.load(Ordering::Relaxed),
            starts_total: self.starts.load(Ordering::Relaxed),
            completed_total: self.completed.load(Ordering::Relaxed),
            failed_total: self.failed.load(Ordering::Relaxed),
            panics_total: self.panics.load(Ordering::Relaxed),
            timeouts_total: self.timeouts.load(Ordering::Relaxed),
            deduplicated_total: self.deduplicated.load(Ordering::Relaxed),
            quarantined_total: self.quarantined.load(Ordering::Relaxed),
            pruned_total: self.pruned.load(Ordering::Relaxed),
            compactions_total: self.compactions.load(Ordering::Relaxed),
            stuck: stuck as u64,
        }
    }
}
