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
//! assert!(host.run(signup, &"ada@example.org").is_done());
//! assert!(host.run(signup, &"ada@example.org").is_done());
//! assert_eq!(host.enqueued().len(), 1);
//! ```
//!
//! # Names
//!
//! Kinds and queues are names: 1 to 128 of the characters `A-Z a-z 0-9 . _ : -`, not dots alone. Another one is refused with
//! [`Error::AccessDenied`], because nobody can grant it. [`name_for`] makes a name of any text. Unique keys and groups are any text of 1 to
//! 1,024 bytes, such as an e-mail address; an empty or longer one is refused with [`Error::Other`].

use std::fmt::{self, Write};
use std::time::Duration;

use millpond_rules::{NAME_BYTES_MAX, is_name_byte};
use serde::Serialize;

use crate::error::{self, OrElse};
use crate::{host, sha256};

/// Why a job was refused. The attempt may go on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted this kind, or this queue, to the handler; or one of them is no name.
    AccessDenied,
    /// The payload is longer than any job's may be. One that is longer than all that the attempt may enqueue is answered
    /// [`QuotaExceeded`](Self::QuotaExceeded).
    PayloadTooLarge,
    /// The attempt has enqueued as much as it may, or follow-ups of follow-ups have come to their limit.
    QuotaExceeded,
    /// Anything else, said in words: a unique key or a group that is empty or [too long](self#names), a priority above 9.
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
    /// A dead letter where the payload has no JSON.
    pub fn new<T: Serialize + ?Sized>(kind: &str, payload: &T) -> error::Result<Self> {
        Ok(Self::raw(kind, serde_json::to_vec(payload).or_dead_letter()?))
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

    /// While a job with this key, a [name](self#names), is in its queue, and for five minutes after its enqueue even if it has ended,
    /// another enqueue stores nothing.
    pub fn unique_key(mut self, key: &str) -> Self {
        self.unique_key = Some(key.to_owned());
        self
    }

    /// Jobs of a group, a [name](self#names), run one at a time, in the order in which they were enqueued.
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Stages it: it exists when this job is complete, and gets its own id then. This answers what it is known as until then, the
    /// running job's id with its place behind it, such as `7+1`: for the log, not for finding it again.
    ///
    /// # Errors
    /// The host's refusal.
    pub fn enqueue(self) -> Result<String, Error> {
        host::enqueue(self)
    }
}

/// A [name](self#names) for any text: the same one for the same text, and another one for another.
///
/// Where each character of the text may stand in a name, and none is a colon, it is the text itself. Each other byte becomes a colon with
/// its two hexadecimal digits. Where that is too long, its end is replaced by two colons and the SHA-256 of the text.
///
/// ```
/// use millpond_guest::enqueue::name_for;
///
/// assert_eq!(name_for("order-7"), "order-7");
/// assert_eq!(name_for("ada@example.org"), "ada:40example.org");
/// assert_eq!(name_for(&"long ".repeat(100)).len(), 128);
/// ```
pub fn name_for(text: &str) -> String {
    // No byte of its own: two colons stand for the beginning of a hash, and one at the end for nothing.
    if text.is_empty() {
        return ":".to_owned();
    }
    let dots_alone = text.bytes().all(|byte| byte == b'.');
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_name_byte(byte) && byte != b':' && !dots_alone {
            name.push(byte.into());
        } else {
            let _ = write!(name, ":{byte:02x}");
        }
        if name.len() > NAME_BYTES_MAX {
            name.truncate(NAME_BYTES_MAX - "::".len() - 2 * sha256::BYTES);
            name.push_str("::");
            for byte in sha256::digest(text.as_bytes()) {
                let _ = write!(name, "{byte:02x}");
            }
            break;
        }
    }
    name
}
