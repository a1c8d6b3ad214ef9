//! An attempt that has failed, as a retry policy sees it.

use std::time::Duration;

use super::attempt::FailureKind;

/// An attempt that has failed. [`Retry::decide`](super::Retry::decide) says what follows.
#[derive(Clone, Copy, Debug)]
pub struct FailedAttempt<'a> {
    pub(crate) attempt: u32,
    pub(crate) max_attempts: u32,
    pub(crate) kind: FailureKind,
    pub(crate) error: &'a str,
    pub(crate) age: Duration,
}

impl<'a> FailedAttempt<'a> {
    /// The number of the attempt, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The number of attempts that the job has.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// In which way it has failed.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The error: its text and those of its sources.
    pub fn error(&self) -> &'a str {
        self.error
    }

    /// How long ago the job was enqueued, by the wall clock. Zero if that clock was set back before it.
    pub fn age(&self) -> Duration {
        self.age
    }
}
