//! A command: one change to make durable.

use super::commands::{Finish, MarkStarts};
use super::step::Step;
use crate::error::Error;
use crate::storage::Batch;

/// One change to make durable.
pub(crate) enum Command {
    /// The end of an attempt, the most frequent command.
    Finish(Finish),
    /// Start marks. A mark that is written after the start is dropped if its job has ended meanwhile.
    StartMark(Box<MarkStarts>),
    Step(Box<dyn Step>),
}

impl Command {
    /// Whether it runs code of the application in the batch, which may fail after it has written.
    pub(super) fn runs_application_code(&self) -> bool {
        match self {
            Self::Finish(finish) => finish.runs_application_code(),
            Self::StartMark(_) => false,
            Self::Step(step) => step.runs_application_code(),
        }
    }

    /// Whether it must wait for another batch, because this one has moved enough bytes, or has changed which queue has which
    /// name. Ends and start marks are small and name no queue, and never wait.
    pub(super) fn waits_for_another(&self, batch: &Batch<'_>) -> bool {
        let max = match self {
            Self::Finish(finish) if finish.runs_application_code() => batch.limits.shared,
            Self::Finish(_) | Self::StartMark(_) => return false,
            Self::Step(step) if step.is_in_bulk() => batch.limits.shared_in_bulk,
            Self::Step(_) => batch.limits.shared,
        };
        batch.is_closed() || batch.moved_bytes() >= max
    }
}

/// All commands of a batch, whether they were done, refused or put off.
pub(super) fn all_of(mut done: Vec<Command>, refused: Vec<(Command, Error)>, put_off: Vec<Command>) -> Vec<Command> {
    done.extend(refused.into_iter().map(|(command, _)| command));
    done.extend(put_off);
    done
}
