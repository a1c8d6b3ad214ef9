//! Counters since the file was opened. The counts of each queue are stored with the data: see
//! [`Counts`](crate::Counts).

mod commits;
#[cfg(feature = "metrics")]
mod described;
mod end;
#[cfg(feature = "metrics")]
mod meters;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/no_meters.rs"]
mod meters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::job::{Ending, FailureKind};
use crate::sync::Mutex;
use crate::time::{Timestamp, in_seconds};
use commits::CommitCounters;
pub(crate) use commits::{CommitCost, CommitCosts};
pub(crate) use end::End;
use meters::Meters;
#[cfg(all(feature = "metrics", feature = "wasm"))]
pub(crate) use meters::PluginReading;
pub(crate) use meters::WorkerMeters;
#[cfg(feature = "metrics")]
pub(crate) use meters::{ConsumerReading, LINK_COUNTERS, LinkReading, PondReading, QueueReading, StreamReading};

/// Counters since the file was opened.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { if true { panic!("boom") }; Ok(()) }).start()?;
/// # pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// let MetricsSnapshot { starts_total, failed_total, panics_total, .. } = pond.metrics();
/// println!("{starts_total} attempts, {failed_total} failed, {panics_total} of them by a panic");
/// # assert_eq!((starts_total, failed_total, panics_total), (1, 1, 1));
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MetricsSnapshot {
    /// Commits made.
    pub commits_total: u64,
    /// How long the storage engine took to make these commits durable, in all. Most of it is the disk's sync.
    #[serde(rename = "commit_seconds_total", serialize_with = "in_seconds")]
    pub commit_time_total: Duration,
    /// Operations that these commits have written, in all: a call that writes is one however many jobs it enqueues, and so
    /// is the end of an attempt. Divided by `commits_total` it is the mean of a commit.
    pub operations_total: u64,
    /// Times that the file was synced, also while it was opened, compacted or copied. 0 for an
    /// [attached](crate::Builder::attach) database.
    pub syncs_total: u64,
    /// Bytes that were handed to the file or the storage backend to be written, whoever wrote them. 0 for an attached
    /// database.
    pub written_bytes_total: u64,
    /// Attempts started.
    pub starts_total: u64,
    /// Attempts that completed their jobs.
    pub completed_total: u64,
    /// Attempts that failed: the handler returned an error, asked for a retry or a dead letter, panicked or exceeded
    /// its timeout, the payload could not be decoded, or the writes with the completion failed.
    pub failed_total: u64,
    /// How many of the failed attempts panicked.
    pub panics_total: u64,
    /// How many of the failed attempts exceeded their timeouts.
    pub timeouts_total: u64,
    /// Jobs that were not stored, because a job with their unique key existed.
    pub deduplicated_total: u64,
    /// Messages that were published to [topics](crate::Topic), also those that nobody got.
    pub published_total: u64,
    /// How many of these messages nobody got.
    pub unrouted_total: u64,
    /// Rows that were moved to the quarantine because they could not be read.
    pub quarantined_total: u64,
    /// Ended jobs that were removed after their retention.
    pub pruned_total: u64,
    /// How often the file was compacted.
    pub compactions_total: u64,
    /// How often something of a [link](crate::Millpond::links) has changed: links that were started or have stopped count, too.
    pub link_changes_total: u64,
    /// Blocking handlers that have exceeded their timeouts and still keep their slots. This is the current number, not
    /// a total.
    pub stuck: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    commits: CommitCounters,
    used: Mutex<Option<Used>>,
    meters: Meters,
    starts: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    panics: AtomicU64,
    timeouts: AtomicU64,
    deduplicated: AtomicU64,
    published: AtomicU64,
    unrouted: AtomicU64,
    quarantined: AtomicU64,
    pruned: AtomicU64,
    compactions: AtomicU64,
}

/// How many bytes of the file were in use when it was last looked through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub bytes: u64,
    pub at: Timestamp,
}

/// What was handed to the storage backend since the file was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub syncs: u64,
    pub bytes: u64,
}

impl Metrics {
    pub fn committed(&self, cost: CommitCost) {
        self.commits.add(cost);
        self.meters.committed(cost);
    }

    /// Counts a page of ready jobs that was read from the file.
    pub fn refilled(&self) {
        self.meters.refilled();
    }

    pub fn commits(&self) -> u64 {
        self.commits.commits()
    }

    pub fn commit_costs(&self) -> CommitCosts {
        self.commits.read()
    }

    pub fn set_used(&self, used: Used) {
        *self.used.lock().unwrap_or_else(|e| e.into_inner()) = Some(used);
    }

    pub fn used(&self) -> Option<Used> {
        *self.used.lock().unwrap_or_else(|e| e.into_inner())
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

    /// Counts an attempt that wrote something with its completion, and whose end is durable.
    pub fn completed(&self) {
        self.completed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt whose writes with its completion failed.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn published(&self, messages: u64, unrouted: u64) {
        if messages > 0 {
            self.published.fetch_add(messages, Ordering::Relaxed);
            self.unrouted.fetch_add(unrouted, Ordering::Relaxed);
        }
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

    pub fn snapshot(&self, stuck: usize, link_changes: u64, written: Written) -> MetricsSnapshot {
        let costs = self.commits.read();
        MetricsSnapshot {
            commits_total: costs.commits_total,
            commit_time_total: costs.time_total,
            operations_total: costs.operations_total,
            syncs_total: written.syncs,
            written_bytes_total: written.bytes,
            starts_total: self.starts.load(Ordering::Relaxed),
            completed_total: self.completed.load(Ordering::Relaxed),
            failed_total: self.failed.load(Ordering::Relaxed),
            panics_total: self.panics.load(Ordering::Relaxed),
            timeouts_total: self.timeouts.load(Ordering::Relaxed),
            published_total: self.published.load(Ordering::Relaxed),
            unrouted_total: self.unrouted.load(Ordering::Relaxed),
            deduplicated_total: self.deduplicated.load(Ordering::Relaxed),
            quarantined_total: self.quarantined.load(Ordering::Relaxed),
            pruned_total: self.pruned.load(Ordering::Relaxed),
            compactions_total: self.compactions.load(Ordering::Relaxed),
            link_changes_total: link_changes,
            stuck: stuck as u64,
        }
    }
}
