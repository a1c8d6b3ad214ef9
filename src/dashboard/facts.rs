//! What the file and the process say of themselves.

use crate::Millpond;

use super::api::{Problem, Process, Storage};
use super::jobs::time;

/// The file, and what writing it takes.
pub(super) fn storage(pond: &Millpond) -> Result<Storage, Problem> {
    let storage = pond.storage()?;
    let has_committed = storage.commits_total > 0;
    Ok(Storage {
        path: storage.path.map(|path| path.to_string_lossy().into_owned()),
        file_bytes: storage.file_bytes,
        live_bytes: storage.used_bytes,
        commits: storage.commits_total,
        latest_commit_seconds: has_committed.then_some(storage.commit_time_latest.as_secs_f64()),
        longest_commit_seconds: has_committed.then_some(storage.commit_time_max.as_secs_f64()),
        commit_seconds_total: Some(storage.commit_time_total.as_secs_f64()),
        operations: storage.operations_total,
        written_bytes: storage.written_bytes_total,
        compactions: pond.metrics().compactions_total,
    })
}

/// The process that has the file.
pub(super) fn process(pond: &Millpond) -> Result<Process, Problem> {
    let process = pond.process()?;
    Ok(Process {
        id: std::process::id(),
        running: process.running as u64,
        max_running: Some(process.running_max as u64),
        blocking: process.blocking as u64,
        blocking_max: process.blocking_max as u64,
        stuck: process.stuck as u64,
        opened_at: Some(time(process.opened_at)),
    })
}
