//! The steps of the handlers that an engine runs.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::attempts::mark_of;
use super::commit::Commit;
use super::engine::Engine;
use crate::error::Error;
use crate::handler::{NewStep, StepAnswer, StepOf, StepStore};
use crate::job::{Coder, JobId, StepInfo, StepRow, StepWhat};
use crate::storage::{Batch, Signalled, Target};
use crate::time::Due;
use crate::writer::{PutStep, PutWhat};

/// The steps of an engine's jobs, for the handlers that it runs.
pub(crate) struct StepsOf(pub Weak<Engine>);

impl StepsOf {
    fn engine(&self) -> Result<Arc<Engine>, Error> {
        self.0.upgrade().ok_or(Error::Closed)
    }
}

impl StepStore for StepsOf {
    fn steps(&self, id: JobId) -> Result<Vec<(String, StepRow)>, Error> {
        let engine = self.engine()?;
        let steps = engine.reader()?.steps(id)?;
        Ok(steps.into_iter().map(|(name, row)| (name, read(engine.coder(), row))).collect())
    }

    fn is_due(&self, due: Due) -> bool {
        self.0.upgrade().is_some_and(|engine| due.is_due(engine.now()))
    }

    fn put(&self, of: StepOf, name: String, step: NewStep) -> StepAnswer {
        let engine = self.engine();
        Box::pin(async move { put(&engine?, of, name, step).await })
    }
}

async fn put(engine: &Arc<Engine>, of: StepOf, name: String, step: NewStep) -> Result<StepWhat, Error> {
    let id = of.job.id;
    let running = engine.running_attempt(id).filter(|running| running.facts.run == of.run);
    let running = running.ok_or(Error::NoSuchJob { id })?;
    if running.is_batched && step.is_undoable() {
        let reason = format!("the step {name:?} cannot be undone: its handler handles many jobs with one call");
        return Err(Error::config("undo", reason));
    }
    let now = engine.now();
    let coder = engine.coder().clone();
    let what = match step {
        NewStep::Done { result, is_undoable } => PutWhat::Given(StepWhat::done(&coder, result, is_undoable)?),
        NewStep::WaitAgain(deadline) => PutWhat::Given(StepWhat::Waits(deadline)),
        NewStep::Sleep(time) => PutWhat::Given(StepWhat::Sleeps(Due::after(now, time))),
        NewStep::Wait(timeout) => PutWhat::Given(StepWhat::Waits(timeout.map(|time| Due::after(now, time)))),
        NewStep::Written { write, is_undoable } => PutWhat::Written { write, is_undoable },
        NewStep::Undone => PutWhat::Undone,
    };
    let bytes = match &what {
        PutWhat::Given(what) => what.bytes(),
        PutWhat::Written { .. } | PutWhat::Undone => 0,
    };
    let (reply, answer) = oneshot::channel();
    let step =
        PutStep { taken: of.job, mark: mark_of(&running), name, what, coder: coder.clone(), stored: None, reply };
    engine.submit(Box::new(step), bytes).await?;
    let row = answer.await.map_err(|_| engine.unanswered())??;
    Ok(read(&coder, row).what)
}

impl Engine {
    /// A signal has come for a job.
    pub fn signal_job(self: &Arc<Self>, id: JobId, name: String, came: Result<Signalled, Error>) -> Commit<bool> {
        let engine = self.clone();
        Commit::new(async move {
            let Signalled { payload, is_coded } = came?;
            let write = move |batch: &mut Batch<'_>, target: Target| {
                let row = StepRow { at: batch.now.wall, what: StepWhat::Signalled(payload.clone()), is_coded };
                batch.signal_job(target, &name, &row)
            };
            engine.change_waiting(id, 0, write).await
        })
    }

    /// The steps of a job as they are shown.
    pub fn steps_of(&self, id: JobId) -> Result<Vec<StepInfo>, Error> {
        let mut steps = self.reader()?.steps(id)?;
        steps.sort_by_key(|(_, row)| row.at);
        Ok(steps.into_iter().map(|(name, row)| StepInfo::new(name, read(self.coder(), row))).collect())
    }
}

/// A step with its result as it was given; as it is stored if the payload codec cannot read it.
fn read(coder: &Coder, row: StepRow) -> StepRow {
    let Some(stored) = row.what.result().cloned() else { return row };
    let given = coder.result(stored.clone(), row.is_coded).unwrap_or(stored);
    StepRow { what: row.what.with_result(given), ..row }
}
