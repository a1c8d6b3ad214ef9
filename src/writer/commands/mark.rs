//! Writes the start marks of attempts.

use std::collections::HashSet;

use crate::error::Error;
use crate::job::JobId;
use crate::storage::{Batch, StartMark};
use crate::writer::step::Refusal;

type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Notes that these jobs have started.
pub(crate) struct MarkStarts {
    marks: Vec<(JobId, StartMark)>,
    /// The mark of this job says that nothing has started beside it, which is not so any more.
    no_longer_alone: Option<JobId>,
    /// Somebody waits for it: the start is made durable before the handler runs.
    then: Option<Then>,
}

impl MarkStarts {
    /// Starts that are written behind: nobody waits.
    pub fn behind(marks: Vec<(JobId, StartMark)>) -> Box<Self> {
        Box::new(Self { marks, no_longer_alone: None, then: None })
    }

    /// A start that must be durable before `then`.
    pub fn before(mark: (JobId, StartMark), no_longer_alone: Option<JobId>, then: Then) -> Box<Self> {
        Box::new(Self { marks: vec![mark], no_longer_alone, then: Some(then) })
    }

    pub fn drop_finished(&mut self, finished: &HashSet<JobId>) {
        let marks = self.marks.len();
        self.marks.retain(|(id, _)| !finished.contains(id));
        if self.marks.len() < marks {
            tracing::trace!("a start and its end cancel out");
        }
    }

    pub fn apply(&mut self, batch: &mut Batch<'_>) -> Result<(), Refusal> {
        for (id, mark) in &self.marks {
            batch.mark(*id, mark)?;
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
