//! What an attempt knows of the steps of its job.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use super::step_store::StepStore;
use crate::error::{BoxError, Error};
use crate::job::{JobId, StepRow, Suspension};

/// What an attempt knows of the steps of its job.
pub(crate) struct StepsOfAttempt {
    /// Those that were stored when the handler first asked.
    pub rows: BTreeMap<String, StepRow>,
    /// How often each name was used in this attempt.
    pub used: HashMap<String, u32>,
    /// The attempt has stored the result of a step.
    pub has_stored: bool,
    /// The attempt has stored a step that says how to undo it.
    pub has_stored_undoable: bool,
    /// Why the handler leaves, if it sleeps or waits.
    pub suspension: Option<Suspension>,
    /// How to undo the steps to which a handler has come that is called for that, in their order.
    pub undos: Vec<UndoStep>,
    /// All steps are undone.
    pub is_undone: bool,
}

impl StepsOfAttempt {
    /// What is known of the steps of this job. They are read if none of them is known yet.
    pub fn known<'k>(
        known: &'k mut Option<Box<Self>>,
        store: &dyn StepStore,
        id: JobId,
    ) -> Result<&'k mut Self, Error> {
        match known {
            Some(known) => Ok(known),
            none => Ok(none.insert(Box::new(Self::of(store.steps(id)?)))),
        }
    }

    /// With the steps that are stored.
    fn of(rows: Vec<(String, StepRow)>) -> Self {
        let (rows, used, undos) = (rows.into_iter().collect(), HashMap::new(), Vec::new());
        Self { rows, used, has_stored: false, has_stored_undoable: false, suspension: None, undos, is_undone: false }
    }
}

/// How to undo a step.
pub(crate) struct UndoStep {
    /// The name of the step.
    pub name: String,
    /// Its result.
    pub result: Bytes,
    pub undo: UndoFn,
}

/// Undoes a step that has this result.
pub(crate) type UndoFn = Box<dyn FnOnce(&Bytes) -> Result<UndoFuture, BoxError> + Send>;

/// Ends when the step is undone.
pub(crate) type UndoFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
