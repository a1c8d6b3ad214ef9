//! Writes the start marks of attempts.

use std::collections::HashSet;

use crate::error::Error;
use crate::job::JobId;
use crate::storage::{Batch, StartMark};
use crate::writer::step::Refusal;

type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Writes the start marks of these jobs.
pub(crate) struct MarkStarts {
    marks: Vec<(JobId, StartMark)>,
    /// The mark of this job says that it runs alone, which is not true any more.
    no_longer_alone: Option<JobId>,
    /// Called with the result, if the handler must not run before the mark is durable.
    then: Option<Then>,
}

impl MarkStarts {
    /// Marks that are written after the starts: nothing waits for them.
    pub fn behind(marks: Vec<(JobId, StartMark)>) -> Box<Self> {
        Box::new(Self { marks, no_longer_alone: None, then: None })
    }

    /// A mark that must be durable before `then` is called.
    pub fn before(mark: (JobId, StartMark), no_longer_alone: Option<JobId>, then: Then) -> Box<Self> {
        Box::new(Self { marks: vec![mark], no_longer_alone, then: Some(then) })
    }

    pub fn drop_finished(&mut self, finished: &HashSet<JobId>) {
        let marks = self.marks.len();
        self.marks.retain(|(id, _)| !finished.contains(id));
        if self.marks.len() < marks {
            tracing::trace!("a start mark is dropped, because the job has ended");
        }
    }

    pub fn apply(&mut self, batch: &mut Batch<'_>) -> Result<(), Refusal> {
        for (id, mark) in &self.marks {
            batch.hand_out(*id, mark)?;
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
