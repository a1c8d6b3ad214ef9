//! What the writer itself does for the tenant "jobs": it keeps ends that cannot be written yet, and reads its state of the
//! jobs again after the file was reopened.

use super::commands::Finish;
use super::state::Writer;
use crate::error::Error;
use crate::job::JobId;
use crate::storage::Counters;

impl Writer {
    /// Keeps an end that arrives while nothing can be written.
    pub fn keep(&mut self, finish: Finish) {
        self.jobs.unfinished.push(finish);
    }

    /// Reads everything in memory about the file again after it was reopened. Returns the jobs whose ends the failed commit
    /// has made durable.
    pub fn reload(&mut self) -> Result<Vec<JobId>, Error> {
        let in_file = self.store.load()?;
        let ended = self.jobs.reload(&self.store.reader()?)?;
        (self.counters, self.in_file) = (Counters { clean: false, ..in_file }, in_file);
        for finish in &ended {
            tracing::debug!(job = %finish.id(), "the end of the attempt is in the file already");
            if finish.has_hooks() {
                self.metrics.completed();
            }
        }
        Ok(ended.iter().map(Finish::id).collect())
    }

    /// The jobs that have a start mark in the file.
    pub fn marks(&self) -> impl Iterator<Item = JobId> {
        self.jobs.marks.iter().copied()
    }
}
