//! What the public interface does not tell or do yet, a function each.

use crate::Millpond;

use super::api::{Code, Done, Plugin, Problem, ScheduleChange, Storage, Time};

/// The path and the sizes of the file, and the times of its commits.
pub(super) fn storage(_: &Millpond) -> Storage {
    Storage::default()
}

/// How many jobs of all queues may run at a time.
pub(super) fn max_running(_: &Millpond) -> Option<u64> {
    None
}

/// When the file was opened.
pub(super) fn opened_at(_: &Millpond) -> Option<Time> {
    None
}

/// The plugins of all workers.
pub(super) fn plugins(_: &Millpond) -> Vec<Plugin> {
    Vec::new()
}

/// Lets a suspended plugin run again.
pub(super) fn resume_plugin(_: &Millpond, _queue: &str, name: &str) -> Result<Done, Problem> {
    Err(unsupported(format!(
        "plugin {name:?} cannot be resumed here: the application can, with `PluginHandle::resume`"
    )))
}

/// Changes the times or the payload of a schedule.
pub(super) fn update_schedule(_: &Millpond, name: &str, _change: &ScheduleChange) -> Result<Done, Problem> {
    Err(unsupported(format!(
        "schedule {name:?} cannot be changed here: the application can, with `Millpond::schedule`"
    )))
}

fn unsupported(detail: String) -> Problem {
    Problem::new(Code::Unsupported, detail)
}
