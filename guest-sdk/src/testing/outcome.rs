//! How an attempt ended.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::{Error, Verdict};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The job is complete, with these bytes as its result.
    Done(Vec<u8>),
    /// Try again, after the queue's back-off if there is no delay.
    Retry {
        /// For the operator.
        reason: String,
        /// The earliest moment.
        delay: Option<Duration>,
    },
    /// The job ends as cancelled, with this reason.
    Cancel(String),
    /// The job becomes a dead letter, with this reason.
    DeadLetter(String),
    /// Come back later; no attempt was used up.
    Snooze(Duration),
    /// A [step](crate::steps) sleeps or waits for a signal; no attempt was used up.
    Suspended,
    /// The jobs of the group wait, or of the queue if the job has no group; no attempt was used up.
    RateLimited(Duration),
    /// All jobs of the queue wait; no attempt was used up.
    RateLimitedQueue(Duration),
    /// The handler panicked with this message. In the sandbox that is a trap: a failed attempt.
    Panicked(String),
}

impl Outcome {
    /// Whether the job is complete.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// Whether another attempt follows that counts.
    pub fn is_retried(&self) -> bool {
        matches!(self, Self::Retry { .. } | Self::Panicked(_))
    }

    /// Whether the job has left memory because it sleeps or waits for a signal.
    pub fn is_suspended(&self) -> bool {
        matches!(self, Self::Suspended)
    }

    /// Whether the job ended as cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancel(_))
    }

    /// Whether the job became a dead letter at once. A [retry](Self::is_retried) makes it one after its last attempt.
    pub fn is_dead_letter(&self) -> bool {
        matches!(self, Self::DeadLetter(_))
    }

    /// The result of a complete job, read from JSON; none if there is none, or it is not a `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Done(bytes) => serde_json::from_slice(bytes).ok(),
            _ => None,
        }
    }
}

impl From<Result<Vec<u8>, Error>> for Outcome {
    fn from(result: Result<Vec<u8>, Error>) -> Self {
        match result.map_err(|error| error.0) {
            Ok(bytes) => Self::Done(bytes),
            Err(Verdict::Retry { reason, delay }) => Self::Retry { reason, delay },
            Err(Verdict::Cancel(reason)) => Self::Cancel(reason),
            Err(Verdict::DeadLetter(reason)) => Self::DeadLetter(reason),
            Err(Verdict::Snooze(delay)) => Self::Snooze(delay),
            Err(Verdict::Suspended) => Self::Suspended,
            Err(Verdict::RateLimited { delay, queue: false, .. }) => Self::RateLimited(delay),
            Err(Verdict::RateLimited { delay, queue: true, .. }) => Self::RateLimitedQueue(delay),
        }
    }
}
