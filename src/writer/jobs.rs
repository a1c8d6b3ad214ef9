//! Jobs, as a tenant of the writer: what it keeps of them between commits, and what a commit tells their dispatch.
//!
//! "The writer's tenants" in ARCHITECTURE.md says what another tenant must supply.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::command::Command;
use super::commands::{self, Finish};
use crate::error::Error;
use crate::job::{Caller, Change, EndedJob, IdSet, JobId};
use crate::storage::{Batch, NotedExpiries, NotedFlows, NotedSchedules, Reader};

/// What the writer keeps of the jobs between commits.
#[derive(Default)]
pub(super) struct Jobs {
    /// Jobs that have a start mark in the file.
    pub marks: BTreeSet<JobId>,
    /// Ends whose commit failed. They must not be lost: their jobs would run again.
    pub unfinished: Vec<Finish>,
}

/// The effects of commits for the dispatch of jobs.
#[derive(Default)]
pub(crate) struct JobNews {
    pub changes: Vec<Change>,
    /// The callers that enqueued the stored jobs.
    pub callers: Vec<(JobId, Caller)>,
    /// The running jobs that are to be cancelled, with the reasons.
    pub cancels: Vec<(JobId, Arc<str>)>,
    /// The jobs that have ended, if callers wait for ends.
    pub ends: Vec<EndedJob>,
    /// When stored jobs expire.
    pub expiries: NotedExpiries,
    /// When stored schedules are due.
    pub schedules: NotedSchedules,
    /// When flows need the writer.
    pub flows: NotedFlows,
}

impl Jobs {
    /// Notes that start marks were written and removed.
    pub fn note_marks(&mut self, written: impl IntoIterator<Item = JobId>, removed: impl IntoIterator<Item = JobId>) {
        self.marks.extend(written);
        for id in removed {
            self.marks.remove(&id);
        }
    }

    /// Reads the marks again after the file was reopened. Returns the ends that the failed commit has made durable. They must
    /// not be written again, because the writes of their handlers would be made twice.
    pub fn reload(&mut self, reader: &Reader) -> Result<Vec<Finish>, Error> {
        let marks = reader.marked()?;
        let mut open = HashSet::new();
        for finish in &self.unfinished {
            if reader.is_unchanged_since_start(finish.queue, &finish.taken)? {
                open.insert(finish.id());
            }
        }
        self.marks = marks;
        let (open, ended) =
            std::mem::take(&mut self.unfinished).into_iter().partition(|finish| open.contains(&finish.id()));
        self.unfinished = open;
        Ok(ended)
    }
}

/// Drops start marks of jobs whose ends are in the same batch: both need not be written.
pub(super) fn drop_marks_of_the_finished(commands: &mut [Command]) {
    if !commands.iter().any(|command| matches!(command, Command::StartMark(_))) {
        return;
    }
    let finished: IdSet = commands
        .iter()
        .filter_map(|command| match command {
            Command::Finish(finish) => Some(finish.id()),
            _ => None,
        })
        .collect();
    for command in commands {
        if let Command::StartMark(mark) = command {
            mark.drop_finished(&finished);
        }
    }
}

/// Removes the rows of all jobs that simply complete, in one pass.
pub(super) fn take_rows_out(commands: &mut [Command], batch: &mut Batch<'_>) -> Result<(), Error> {
    let ends = commands.iter_mut().filter_map(|command| match command {
        Command::Finish(finish) => Some(finish),
        _ => None,
    });
    commands::take_rows_out(&mut ends.collect::<Vec<_>>(), batch)
}
