//! How an attempt has ended, from what its handler has returned or thrown.

use super::panics;
use crate::error::BoxError;
use crate::error::panics::drop_quietly;
use crate::job::{ClassedError, Ending, FailureKind, Outcome};

pub(super) fn panicked(message: String) -> Ending {
    Ending::Failed { kind: FailureKind::Panic, message, delay: None }
}

pub(super) fn undecodable(error: BoxError) -> Ending {
    Ending::Undecodable(text_of(error))
}

/// The steps of a job are to be undone, and its handler is one that cannot.
pub(crate) fn cannot_undo() -> Ending {
    let message = "its steps are to be undone, and this handler cannot undo steps".to_owned();
    Ending::Failed { kind: FailureKind::Error, message, delay: None }
}

/// The ending that an outcome stands for.
pub(super) fn ended(outcome: Outcome) -> Ending {
    match outcome {
        Outcome::Done(result) => Ending::Done(result),
        Outcome::Retry { error, delay } => {
            let kind = error.downcast_ref().map_or(FailureKind::Error, |ClassedError { kind, .. }| *kind);
            if kind == FailureKind::Undecodable {
                return undecodable(error);
            }
            Ending::Failed { kind, message: text_of(error), delay }
        }
        Outcome::Snooze(delay) => Ending::snoozed(delay),
        Outcome::RateLimited(delay) => Ending::rate_limited(delay, false),
        Outcome::RateLimitedQueue(delay) => Ending::rate_limited(delay, true),
        Outcome::Cancel(reason) => Ending::Cancelled(reason),
        Outcome::DeadLetter(reason) => Ending::DeadLetter(reason),
    }
}

/// The text of an error. Both making the text and dropping the error run code of the application.
fn text_of(error: BoxError) -> String {
    let text = panics::catch(|| chain(&error));
    drop_quietly(error);
    text.unwrap_or_else(|panic| format!("an error whose text panicked: {panic}"))
}

/// The most sources of an error that its text includes: an error may be its own source.
const SOURCES_MAX: usize = 64;

/// An error with its sources, joined by `: `.
fn chain(error: &BoxError) -> String {
    let mut text = error.to_string();
    let sources = std::iter::successors(error.source(), |error| error.source());
    for error in sources.take(SOURCES_MAX) {
        let cause = error.to_string();
        // The text of many errors already ends with the text of their source.
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
