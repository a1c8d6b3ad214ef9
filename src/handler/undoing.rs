//! Undoes the steps of a job whose handler was called for that.

use super::attempt_facts::AttemptFacts;
use super::attempt_steps::{StepsOfAttempt, UndoStep};
use super::step_store::{NewStep, StepOf};
use crate::error::panics::{drop_quietly, text_of};
use crate::error::{BoxError, Error};
use crate::job::{Outcome, StepWhat};

impl AttemptFacts {
    /// Whether the handler is called to undo the steps of its job.
    pub fn is_undoing(&self) -> bool {
        self.job.record.undo().is_some()
    }

    /// Whether the job has steps to undo before it ends, as far as this attempt knows: not if it undoes them already.
    pub fn has_steps_to_undo(&self) -> bool {
        !self.is_undoing() && self.steps().as_ref().is_some_and(|steps| steps.has_steps_to_undo())
    }

    /// Whether all steps of its job are undone that say how.
    pub fn is_undone(&self) -> bool {
        self.steps().as_ref().is_some_and(|steps| steps.is_undone)
    }

    /// Undoes the steps to which the handler has come, the last one first. `outcome` is what the handler has returned. Returns the
    /// outcome of the attempt: a failure, unless all steps are undone.
    pub async fn undo_steps(&self, outcome: Outcome) -> Outcome {
        let undone = self.undo_all(&outcome).await;
        drop_quietly(outcome);
        match undone {
            Ok(()) => Outcome::done(),
            Err(error) => Outcome::Retry { error, delay: None },
        }
    }

    async fn undo_all(&self, outcome: &Outcome) -> Result<(), BoxError> {
        let store = self.shared.steps.as_deref().ok_or(Error::Closed)?;
        let undos = {
            let mut known = self.steps();
            let known = StepsOfAttempt::known(&mut known, store, self.id())?;
            let undos = std::mem::take(&mut known.undos);
            if let Some(name) = known.not_among(&undos) {
                return Err(format!(
                    "the step {name:?} cannot be undone, because the handler has not asked for it: {}",
                    told(outcome)
                )
                .into());
            }
            undos
        };
        for UndoStep { name, result, undo } in undos.into_iter().rev() {
            undo(&result)?.await?;
            let of = StepOf { job: self.job.clone(), run: self.run };
            store.put(of, name, NewStep::Undone).await?;
        }
        if let Some(steps) = &mut *self.steps() {
            steps.is_undone = true;
        }
        Ok(())
    }
}

impl StepsOfAttempt {
    fn has_steps_to_undo(&self) -> bool {
        self.has_stored_undoable || self.rows.values().any(|row| matches!(row.what, StepWhat::Undoable(_)))
    }

    /// The name of a step that is to be undone, and is not among these.
    fn not_among(&self, undos: &[UndoStep]) -> Option<&str> {
        let to_undo = self.rows.iter().filter(|(_, row)| matches!(row.what, StepWhat::Undoable(_)));
        to_undo.map(|(name, _)| name.as_str()).find(|name| undos.iter().all(|undo| undo.name != *name))
    }
}

/// Why a handler has ended before it has asked for all its steps.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Retry { error, .. } => text_of(&**error),
        _ => "it has ended before".to_owned(),
    }
}
