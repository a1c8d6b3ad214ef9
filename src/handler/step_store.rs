//! Where the steps of a handler are kept.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{BoxError, Error};
use crate::job::{JobId, ReadyJob, RunNumber, StepRow, StepWhat};
use crate::time::Due;
use crate::transaction::Transaction;
use bytes::Bytes;

/// Writes the application's rows of a step, and returns the step's result.
pub(crate) type StepWrite = Box<dyn Fn(&Transaction<'_>) -> Result<Bytes, BoxError> + Send>;

/// Whose step it is.
pub(crate) struct StepOf {
    /// The job as it was handed out.
    pub job: Arc<ReadyJob>,
    /// The run of the attempt.
    pub run: RunNumber,
}

/// What of a step is to be stored.
pub(crate) enum NewStep {
    /// A result, as JSON.
    Done { result: Bytes, is_undoable: bool },
    /// A sleep of this long, from now on.
    Sleep(Duration),
    /// A wait for a signal, for this long at most.
    Wait(Option<Duration>),
    /// The wait for a signal that is stored, if the signal has not come meanwhile.
    WaitAgain(Option<Due>),
    /// The application's rows, and the result with them.
    Written { write: StepWrite, is_undoable: bool },
    /// The step is undone.
    Undone,
}

impl NewStep {
    /// Whether the handler says how to undo it.
    pub fn is_undoable(&self) -> bool {
        matches!(self, Self::Done { is_undoable: true, .. } | Self::Written { is_undoable: true, .. })
    }
}

/// An answer that comes when a step is durable.
pub(crate) type StepAnswer = Pin<Box<dyn Future<Output = Result<StepWhat, Error>> + Send>>;

/// Where the steps of jobs are kept.
pub(crate) trait StepStore: Send + Sync {
    /// The steps of a job, with their names.
    fn steps(&self, id: JobId) -> Result<Vec<(String, StepRow)>, Error>;

    /// Whether this time has come.
    fn is_due(&self, due: Due) -> bool;

    /// Stores a step of this attempt. The answer is the step that counts: another one, if it was stored before.
    fn put(&self, of: StepOf, name: String, step: NewStep) -> StepAnswer;
}
