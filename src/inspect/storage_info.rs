//! The facts of the storage: sizes, and what commits cost.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::runtime::Engine;
use crate::time::{Timestamp, in_seconds};

/// The file, and what its commits have cost since it was opened. [`Millpond::storage`](crate::Millpond::storage) returns it.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.enqueue_many("billing", (0..3).map(|order| Charge { order })).await?;
///
/// let storage = pond.storage()?;
/// assert_eq!((storage.commits_total, storage.operations_total), (1, 1)); // one call
/// let mean = storage.commit_time_total / storage.commits_total as u32;
/// println!("{:?} bytes in the file, {mean:?} for a commit", storage.file_bytes);
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StorageInfo {
    /// The path of the file, if it was opened by its path. Bytes of it that are not text are serialized as `�`.
    #[serde(serialize_with = "as_text")]
    pub path: Option<PathBuf>,
    /// The size of the file in bytes, with the application's tables. `None` for an
    /// [attached](crate::Builder::attach) database, and after the close.
    pub file_bytes: Option<u64>,
    /// The bytes of the records of all jobs that have not ended, in all queues: see [`Counts::bytes`](crate::Counts::bytes).
    /// It is as of the last commit.
    pub waiting_bytes: u64,
    /// How many bytes of the file were in use at [`used_at`](Self::used_at), with the application's tables; the rest was
    /// free. To know it the whole file is read, so it is known only once the queue has looked whether a compaction is
    /// worth while: when it is idle, and its file has between 4 MiB and 1 GiB of which at most a quarter are waiting jobs.
    pub used_bytes: Option<u64>,
    /// When `used_bytes` was read.
    pub used_at: Option<Timestamp>,
    /// Commits made since the file was opened, without those of the opening itself.
    pub commits_total: u64,
    /// How long the storage engine took to make these commits durable, in all. Most of it is the disk's sync. The time in
    /// which the operations of a commit are gathered and written is not part of it.
    #[serde(rename = "commit_seconds_total", serialize_with = "in_seconds")]
    pub commit_time_total: Duration,
    /// The same of the latest commit.
    #[serde(rename = "commit_seconds_latest", serialize_with = "in_seconds")]
    pub commit_time_latest: Duration,
    /// The same of the commit that took longest.
    #[serde(rename = "commit_seconds_max", serialize_with = "in_seconds")]
    pub commit_time_max: Duration,
    /// Operations that these commits have written, in all: a call that writes is one however many jobs it enqueues, and so
    /// is the end of an attempt. Divided by `commits_total` it is the mean of a commit.
    pub operations_total: u64,
    /// The operations of the latest commit.
    pub operations_latest: u64,
    /// Times that the file was synced, also while it was opened, compacted or copied. `None` for an attached database.
    pub syncs_total: Option<u64>,
    /// Bytes that were handed to the file or the storage backend to be written, whoever wrote them. `None` for an attached
    /// database.
    pub written_bytes_total: Option<u64>,
}

fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

pub(crate) fn storage(engine: &Engine) -> StorageInfo {
    let (costs, used, written) = (engine.commit_costs(), engine.used(), engine.written());
    StorageInfo {
        path: engine.path().map(ToOwned::to_owned),
        file_bytes: engine.file_bytes(),
        waiting_bytes: engine.waiting_bytes(),
        used_bytes: used.map(|used| used.bytes),
        used_at: used.map(|used| used.at),
        commits_total: costs.commits_total,
        commit_time_total: costs.time_total,
        commit_time_latest: costs.time_latest,
        commit_time_max: costs.time_max,
        operations_total: costs.operations_total,
        operations_latest: costs.operations_latest,
        syncs_total: written.map(|written| written.syncs),
        written_bytes_total: written.map(|written| written.bytes),
    }
}
