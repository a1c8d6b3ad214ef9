//! The limits and types of what is kept of a job's attempts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::cut;
use crate::time::Timestamp;

/// Most attempt errors kept per job: the first one and the latest ones. A job may have more
/// attempts than this; its record must not grow for ever.
pub(crate) const ATTEMPT_ERRORS_MAX: usize = 50;

/// Longest error text kept, in bytes. What is longer is cut and ends in an ellipsis.
pub(crate) const ERROR_TEXT_BYTES_MAX: usize = 4 * 1024;

/// Longest reason kept, in bytes: why a job was cancelled or given up. What is longer is cut and ends in an
/// ellipsis.
pub(crate) const REASON_BYTES_MAX: usize = 4 * 1024;

/// The number of attempts that the file has for a job that runs at most once. No other job has this number.
pub(crate) const AT_MOST_ONCE: u32 = 0;

/// How an attempt failed.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { if true { panic!("boom") }; Ok(()) }).start()?;
/// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// match pond.job(id)?.errors.last().map(|error| error.kind) {
///     Some(FailureKind::Panic) => println!("a bug of ours"),
///     Some(FailureKind::Timeout) => println!("too slow"),
///     _ => println!("something else"),
/// }
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// The handler returned an error or asked for a retry.
    Error,
    /// The handler panicked.
    Panic,
    /// The attempt ran longer than its timeout, or its handler returned when the timeout had passed.
    Timeout,
    /// The payload could not be read as the handler's type.
    Undecodable,
    /// The process died while the attempt ran; or, for a job that runs at most once, it was stopped.
    Crash,
    /// A plugin's code did what it must not: it gave up, divided by zero, read outside of its memory, ran
    /// out of stack.
    Trap,
    /// A plugin asked for more memory than its limit.
    MemoryLimit,
    /// A handler or a plugin returned a result above its limit, or a plugin passed more to the host in one call.
    OutputTooLarge,
    /// A plugin made more calls to the host than its limit.
    CallLimit,
}

/// A few words in lower case, such as `memory limit`.
impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Undecodable => "undecodable",
            Self::Crash => "crash",
            Self::Trap => "trap",
            Self::MemoryLimit => "memory limit",
            Self::OutputTooLarge => "output too large",
            Self::CallLimit => "call limit",
        })
    }
}

/// What went wrong in one attempt, and when.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// # pond.worker("billing").handle(|_: Job<Charge>| async { Err::<(), _>("declined".into()) }).start()?;
/// # let id = pond.enqueue("billing", Charge { order: 7 }).await?;
/// # drain(&pond).await;
/// for AttemptError { attempt, kind, message, .. } in pond.job(id)?.errors {
///     println!("attempt {attempt}: {kind}: {message}");
/// }
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AttemptError {
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// How it failed.
    pub kind: FailureKind,
    /// The error with its sources, joined by `: `; at most 4 KiB.
    pub message: String,
    /// When the attempt started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl AttemptError {
    pub(crate) fn new(
        attempt: u32,
        kind: FailureKind,
        message: String,
        started_at: Timestamp,
        ended_at: Timestamp,
    ) -> Self {
        let message = cut(message, ERROR_TEXT_BYTES_MAX);
        Self { attempt, kind, message, started_at, ended_at }
    }
}
