//! Writes the start marks of attempts.

use std::sync::Arc;

use crate::error::Error;
use crate::job::{IdSet, JobId, ReadyJob};
use crate::storage::{Batch, StartMark};
use crate::writer::step::Refusal;

type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// The mark of a job, and the job as it was handed out.
pub(crate) type MarkOf = (Arc<ReadyJob>, StartMark);

/// Writes the start marks of these jobs.
pub(crate) struct MarkStarts {
    marks: Vec<MarkOf>,
    /// The mark of this job says that it runs alone, which is not true any more.
    no_longer_alone: Option<JobId>,
    /// Called with the result, if the handler must not run before the mark is durable.
    then: Option<Then>,
}

impl MarkStarts {
    /// Marks that are written after the starts: nothing waits for them.
    pub fn behind(marks: Vec<MarkOf>) -> Box<Self> {
        Box::new(Self { marks, no_longer_alone: None, then: None })
    }

    /// A mark that must be durable before `then` is called.
    pub fn before(mark: MarkOf, no_longer_alone: Option<JobId>, then: Then) -> Box<Self> {
        Box::new(Self { marks: vec![mark], no_longer_alone, then: Some(then) })
    }

    pub fn drop_finished(&mut self, finished: &IdSet) {
        let marks = self.marks.len();
        self.marks.retain(|(taken, _)| !finished.contains(&taken.id));
        if self.marks.len() < marks {
            tracing::trace!("a start mark is dropped, because the job has ended");
        }
    }

    pub fn apply(&mut self, batch: &mut Batch<'_>) -> Result<(), Refusal> {
        for (taken, mark) in &self.marks {
            // Recovery finds only jobs.
            batch.entry_becomes_job(mark.queue, taken)?;
            batch.hand_out(taken.id, mark)?;
        }
        if let Some(id) = self.no_longer_alone {
            batch.no_longer_alone(id)?;
        }
        Ok(())
    }

    pub fn answer(self, result: Result<(), Error>) {
        if let Some(then) = self.then {
            then(result);
        }
    }
}
