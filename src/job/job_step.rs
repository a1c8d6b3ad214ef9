//! The steps of a handler: what of its work is durable before it ends.

use bytes::Bytes;
pub(crate) use millpond_rules::{STEP_BYTES_MAX, STEPS_MAX};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::coder::Coder;
use crate::error::{BoxError, Error};
use crate::time::{Due, Timestamp};

/// A step as the file keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepRow {
    /// When it was stored.
    pub at: Timestamp,
    pub what: StepWhat,
    /// The payload codec has made the bytes of the result.
    pub is_coded: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StepWhat {
    Done(Bytes),
    Sleeps(Due),
    /// It waits for a signal, until then if there is a deadline.
    Waits(Option<Due>),
    /// The signal has come, perhaps before the handler has waited for it.
    Signalled(Bytes),
    /// Done, and the handler says how to undo it.
    Undoable(Bytes),
    /// It had this result, and was undone then. If the job runs again, so does the step.
    Undone(Bytes, Timestamp),
}

impl StepWhat {
    /// A step with this result, which the payload codec codes if there is one.
    ///
    /// # Errors
    /// [`Error::Unencodable`].
    pub fn done(coder: &Coder, result: Bytes, is_undoable: bool) -> Result<Self, Error> {
        let unencodable = |source| Error::Unencodable { kind: "step".into(), source };
        let result = coder.coded_result(result, STEP_BYTES_MAX).map_err(unencodable)?;
        Ok(if is_undoable { Self::Undoable(result) } else { Self::Done(result) })
    }

    /// What is kept of it: its result, or what came with its signal.
    pub fn result(&self) -> Option<&Bytes> {
        match self {
            Self::Done(bytes) | Self::Signalled(bytes) | Self::Undoable(bytes) | Self::Undone(bytes, _) => Some(bytes),
            Self::Sleeps(_) | Self::Waits(_) => None,
        }
    }

    /// The same with this in place of its result.
    pub fn with_result(self, result: Bytes) -> Self {
        match self {
            Self::Done(_) => Self::Done(result),
            Self::Signalled(_) => Self::Signalled(result),
            Self::Undoable(_) => Self::Undoable(result),
            Self::Undone(_, at) => Self::Undone(result, at),
            Self::Sleeps(_) | Self::Waits(_) => self,
        }
    }

    /// Bytes of what is kept of it.
    pub fn bytes(&self) -> usize {
        self.result().map_or(0, Bytes::len)
    }
}

/// Why a handler returns before its end: it sleeps, or waits for a signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspension {
    /// When the job runs again, if nothing happens before.
    pub until: Due,
    /// The step that waits for a signal, if one does.
    pub waits_at: Option<String>,
}

/// The error with which a handler leaves that sleeps or waits. It is not a failure: the job runs again.
#[derive(Debug, thiserror::Error)]
#[error("the handler sleeps or waits for a signal: return this error, so that the job can leave memory")]
pub(crate) struct Suspended;

/// The error with which a handler leaves that is called to undo its steps, once it comes to one that was never done.
#[derive(Debug, thiserror::Error)]
#[error("the job is undone: return this error, so that what was done before is undone")]
pub(crate) struct Undoing;

/// A step of a job, as [`Millpond::steps`](crate::Millpond::steps) shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StepInfo {
    /// Its name; from the second use of a name on with its number, as `charge#2`.
    pub name: String,
    /// When it was stored.
    pub at: Timestamp,
    /// Where it stands.
    pub state: StepState,
    /// Its result, or what came with its signal.
    #[serde(skip)]
    pub result: Option<Bytes>,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepState {
    /// Its result is stored: it does not run again.
    Done,
    /// The job sleeps.
    #[non_exhaustive]
    Sleeps {
        /// Until then.
        until: Timestamp,
    },
    /// The job waits for a signal.
    #[non_exhaustive]
    Waits {
        /// Until then, if it has a deadline.
        deadline: Option<Timestamp>,
    },
    /// The signal has come.
    Signalled,
    /// It was done and undone: if the job runs again, so does the step.
    #[non_exhaustive]
    Undone {
        /// When it was undone.
        at: Timestamp,
    },
}

impl StepInfo {
    pub(crate) fn new(name: String, row: StepRow) -> Self {
        let StepRow { at, what, .. } = row;
        let result = what.result().cloned();
        let state = match what {
            StepWhat::Done(_) | StepWhat::Undoable(_) => StepState::Done,
            StepWhat::Sleeps(until) => StepState::Sleeps { until: until.at },
            StepWhat::Waits(deadline) => StepState::Waits { deadline: deadline.map(|due| due.at) },
            StepWhat::Signalled(_) => StepState::Signalled,
            StepWhat::Undone(_, at) => StepState::Undone { at },
        };
        Self { name, at, state, result }
    }

    /// The result, read from JSON; `None` if there is none.
    ///
    /// # Errors
    /// That of `serde_json` if it is not JSON, or is not a `T`.
    pub fn result_json<T: DeserializeOwned>(&self) -> Result<Option<T>, BoxError> {
        Ok(self.result.as_deref().map(serde_json::from_slice).transpose()?)
    }
}
