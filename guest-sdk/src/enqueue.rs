//! Follow-up jobs. They are enqueued in the transaction that completes this job, and not at all if it does not complete.
//!
//! ```
//! use std::time::Duration;
//!
//! use millpond_guest::Result;
//! use millpond_guest::enqueue::NewJob;
//! use millpond_guest::testing::Host;
//!
//! fn signup(email: String) -> Result {
//!     NewJob::new("reminder", &email)?.delay(Duration::from_secs(86_400)).unique_key(&email).enqueue()?;
//!     Ok(())
//! }
//!
//! let mut host = Host::new();
//! host.run(signup, &"ada@example.org");
//! assert_eq!(host.enqueued()[0].kind(), "reminder");
//! ```

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::error::{self, OrElse};
use crate::host;

/// Why a job was refused. The attempt may go on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted this kind, or this queue, to the handler.
    AccessDenied,
    /// The payload is too long.
    PayloadTooLarge,
    /// The attempt has enqueued as much as it may, or follow-ups of follow-ups have come to their limit.
    QuotaExceeded,
    /// Anything else, said in words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("this handler may not enqueue such a job"),
            Self::PayloadTooLarge => f.write_str("the follow-up job's payload is longer than the host allows"),
            Self::QuotaExceeded => f.write_str("the attempt has enqueued as many jobs as it may"),
            Self::Other(what) => write!(f, "the follow-up job was refused: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// A job to be enqueued. What is not set has the queue's default.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is enqueued by `enqueue()`"]
pub struct NewJob {
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) queue: Option<String>,
    pub(crate) delay: Option<Duration>,
    pub(crate) priority: Option<u8>,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) unique_key: Option<String>,
    pub(crate) group: Option<String>,
}

impl NewJob {
    /// A job of `kind` with a payload that is written as JSON, for the queue that the running job lies in.
    ///
    /// # Errors
    /// A discard where the payload has no JSON.
    pub fn new<T: Serialize + ?Sized>(kind: &str, payload: &T) -> error::Result<Self> {
        Ok(Self::raw(kind, serde_json::to_vec(payload).or_discard()?))
    }

    /// A job of `kind` with these bytes.
    pub fn raw(kind: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind: kind.to_owned(),
            payload: payload.into(),
            queue: None,
            delay: None,
            priority: None,
            max_attempts: None,
            unique_key: None,
            group: None,
        }
    }

    /// For another queue.
    pub fn queue(mut self, queue: &str) -> Self {
        self.queue = Some(queue.to_owned());
        self
    }

    /// Not before this time has passed since the commit.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// From 0, first, to 9, last; 5 if not set.
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How many attempts it has in all, at least 1.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = Some(max_attempts);
        self
    }

    /// While a job with this key is in its queue, another enqueue stores nothing.
    pub fn unique_key(mut self, key: &str) -> Self {
        self.unique_key = Some(key.to_owned());
        self
    }

    /// Jobs of a group run one at a time, in the order in which they were enqueued.
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Stages it: it exists when this job is complete, and gets its own id then. Until then it is known as what this answers.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn enqueue(self) -> Result<String, Error> {
        host::enqueue(self)
    }
}
