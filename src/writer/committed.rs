//! The effects of commits, which dispatch, listeners and callers are told.

use super::command::Command;
use super::jobs::JobNews;
use crate::error::{Error, panics};
use crate::events::Event;
use crate::storage::StreamNews;

/// The effects of one or more commits.
#[derive(Default)]
pub(crate) struct Committed {
    /// The effects for the dispatch of jobs.
    pub jobs: JobNews,
    /// What is told of streams.
    pub streams: StreamNews,
    pub events: Vec<Event>,
    /// Commands and their results.
    pub(super) answers: Vec<(Command, Result<(), Error>)>,
    /// Why the last transaction could not be written, if it could not. Ends that are not durable stay with the writer for a
    /// later commit.
    pub failure: Option<Error>,
}

impl Committed {
    /// Whether the process was forked during the commit and this is the child. It can only answer the caller.
    pub fn is_forked(&self) -> bool {
        matches!(self.failure, Some(Error::Forked { .. }))
    }

    /// How many callers will be answered.
    pub fn answers(&self) -> usize {
        self.answers.iter().filter(|(command, _)| !matches!(command, Command::Finish(_))).count()
    }

    /// Answers all callers. Call it after the changes were applied, so that a caller sees them in its next call.
    pub fn answer(self) {
        for (command, result) in self.answers {
            let answer = || match command {
                Command::Step(step) => step.answer(result),
                Command::StartMark(mark) => mark.answer(result),
                Command::Finish(_) => {}
            };
            // If a caller does not wait any more, its closure is dropped here. A panic of the application's code must not keep
            // the other callers from being answered.
            if panics::catch(answer).is_err() {
                tracing::error!(
                    "a value of the application panicked when it was dropped, or a waker when it was woken"
                );
            }
        }
    }
}

/// Adds these behind those that are there. If none are there, as is usual, nothing is copied.
pub(super) fn append<T>(there: &mut Vec<T>, more: Vec<T>) {
    if there.is_empty() {
        *there = more;
    } else {
        there.extend(more);
    }
}
