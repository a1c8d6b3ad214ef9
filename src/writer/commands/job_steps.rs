//! Stores a step of a handler, with the application's rows if it writes any.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::transact;
use crate::error::Error;
use crate::handler::StepWrite;
use crate::job::{Coder, ReadyJob, StepRow, StepWhat};
use crate::storage::{Batch, StartMark};
use crate::transaction::Prepare;
use crate::writer::step::{Refusal, Step};

/// What is stored of a step.
pub(crate) enum PutWhat {
    /// This, as it is.
    Given(StepWhat),
    /// The result that it returns, with the application's rows.
    Written { write: StepWrite, is_undoable: bool },
    /// That the step is undone.
    Undone,
}

/// Stores a step of the job that a handler has.
pub(crate) struct PutStep {
    pub taken: Arc<ReadyJob>,
    /// The start mark of the attempt.
    pub mark: StartMark,
    pub name: String,
    pub what: PutWhat,
    pub coder: Coder,
    /// The step that counts, once it was applied.
    pub stored: Option<StepRow>,
    pub reply: oneshot::Sender<Result<StepRow, Error>>,
}

impl Step for PutStep {
    fn apply(&mut self, batch: &mut Batch<'_>, prepare: &dyn Prepare) -> Result<(), Refusal> {
        // Steps are those of a job.
        batch.entry_becomes_job(self.mark.queue, &self.taken)?;
        if let Some(was) = batch.step_that_counts(self.taken.id, &self.name)?
            && !matches!(self.what, PutWhat::Undone)
        {
            self.stored = Some(was);
            return Ok(());
        }
        let what = match &self.what {
            PutWhat::Given(what) => what.clone(),
            PutWhat::Written { write, is_undoable } => {
                let result = transact::run(&**write, batch, &Cell::default(), prepare)?;
                StepWhat::done(&self.coder, result, *is_undoable)?
            }
            PutWhat::Undone => {
                self.stored = Some(batch.undo_step(&self.taken, &self.mark, &self.name)?);
                return Ok(());
            }
        };
        let is_coded = self.coder.is_some() && matches!(what, StepWhat::Done(_) | StepWhat::Undoable(_));
        let row = StepRow { at: batch.now.wall, what, is_coded };
        batch.put_step(&self.taken, &self.mark, &self.name, &row)?;
        self.stored = Some(row);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), Error>) {
        let Self { stored, reply, what, .. } = *self;
        // What the closure holds may run code of the application when it is dropped.
        crate::error::panics::drop_quietly(what);
        let _ = reply.send(result.map(|()| stored.expect("applied before it is answered")));
    }

    fn runs_application_code(&self) -> bool {
        matches!(self.what, PutWhat::Written { .. })
    }
}
