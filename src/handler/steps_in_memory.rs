//! The steps of a handler that no queue runs: for the tests of applications.

use bytes::Bytes;

use super::step_store::{NewStep, StepAnswer, StepOf, StepStore};
use crate::error::Error;
use crate::job::{JobId, StepRow, StepWhat};
use crate::time::{Due, Timestamp};

/// Runs each step and keeps nothing. A sleep is over at once, and so is a wait for a signal that has a timeout.
pub(crate) struct StepsInMemory;

impl StepStore for StepsInMemory {
    fn steps(&self, _: JobId) -> Result<Vec<(String, StepRow)>, Error> {
        Ok(Vec::new())
    }

    fn is_due(&self, _: Due) -> bool {
        true
    }

    fn put(&self, _: StepOf, name: String, step: NewStep) -> StepAnswer {
        let what = match step {
            NewStep::Done { result, .. } => Ok(StepWhat::Done(result)),
            NewStep::WaitAgain(deadline) => Ok(StepWhat::Waits(deadline)),
            NewStep::Undone => Ok(StepWhat::Undone(Bytes::new(), Timestamp::EPOCH)),
            NewStep::Sleep(_) => Ok(StepWhat::Sleeps(Due::NEVER)),
            NewStep::Wait(timeout) => Ok(StepWhat::Waits(timeout.map(|_| Due::NEVER))),
            NewStep::Written { .. } => {
                let reason = format!("the step {name:?} writes in a transaction, which needs a queue");
                Err(Error::config("step_tx", reason))
            }
        };
        Box::pin(async move { what })
    }
}
