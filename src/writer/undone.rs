//! A batch that must be undone.

use super::command::Command;
use crate::error::Error;
use crate::error::panics::{drop_quietly, text_of};

/// A batch in which a command failed after it had written, so that all of it must be undone: redb has no rollback within a
/// transaction.
pub(super) struct UndoneBatch {
    /// The first command that failed. No other failed command has written before it, so its error counts.
    pub(super) by: Command,
    pub(super) error: Error,
    /// Commands behind it to try again: they failed too, perhaps because of its writes, or were not called.
    pub(super) to_retry: Vec<Command>,
    /// All other commands.
    pub(super) others: Vec<Command>,
}

impl UndoneBatch {
    /// The commands and the error that all of them get if the storage has failed meanwhile. No command is blamed.
    pub(super) fn into_storage_failure(self) -> (Vec<Command>, Error) {
        let mut all = self.others;
        all.push(self.by);
        all.extend(self.to_retry);
        let error = match self.error {
            Error::Aborted { source } => {
                let said = text_of(&*source).into();
                drop_quietly(source);
                Error::Storage { operation: "write what a closure asked for", source: said }
            }
            other => other,
        };
        (all, error)
    }
}
