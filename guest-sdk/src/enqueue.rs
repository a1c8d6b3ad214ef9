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

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use millpond_rules::attempt::HANDLES;
use millpond_rules::{NAME_BYTES_MAX, is_name_byte};
use serde::Serialize;

use crate::error::{self, OrElse};
#[cfg(target_arch = "wasm32")]
use crate::newer::Newer;
use crate::{host, json, sha256};

/// Why a job was refused. The attempt may go on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted this kind, or this queue, to the handler; or one of them is no name.
    AccessDenied,
    /// The payload is longer than any job's may be. One that is longer than all that the attempt may enqueue is answered
    /// [`QuotaExceeded`](Self::QuotaExceeded).
    PayloadTooLarge,
    /// The attempt has enqueued as much as it may, or follow-ups of follow-ups have come to their limit. Payloads, tags and headers
    /// count, and each tag and each header as 64 bytes more.
    QuotaExceeded,
    /// Anything else, said in words: a unique key or a group that is empty or [too long](self#names), a priority above 9, an invalid
    /// tag or header, options that do not go together.
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
    pub(crate) expires_in: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) weight: Option<u32>,
    pub(crate) tags: Vec<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) unique_for: Option<Duration>,
    pub(crate) unique: Unique,
    /// Passes on what version 0.1.1 of the contract has added, if any of it is set.
    #[cfg(target_arch = "wasm32")]
    pub(crate) newer: Option<Newer<host::SetOptions>>,
}

impl NewJob {
    /// A job of `kind` with a payload that is written as JSON, for the queue that the running job lies in.
    ///
    /// # Errors
    /// A dead letter where the payload has no JSON.
    pub fn new<T: Serialize + ?Sized>(kind: &str, payload: &T) -> error::Result<Self> {
        Ok(Self::raw(kind, json::written(payload).or_dead_letter()?))
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
            expires_in: None,
            timeout: None,
            weight: None,
            tags: Vec::new(),
            headers: BTreeMap::new(),
            unique_for: None,
            unique: Unique::until_ended(),
            #[cfg(target_arch = "wasm32")]
            newer: None,
        }
    }

    /// Notes that an option is set which version 0.1.1 of the contract has added.
    fn newer(self) -> Self {
        #[cfg(target_arch = "wasm32")]
        return Self { newer: Some(Newer(host::set_options_of_0_1_1)), ..self };
        #[cfg(not(target_arch = "wasm32"))]
        self
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

    /// While a job with this key, [any text](self#names), is in its queue, and for five minutes after its enqueue even if it has ended,
    /// another enqueue stores nothing. [`unique`](Self::unique) has other ways to hold it.
    pub fn unique_key(mut self, key: &str) -> Self {
        self.unique_key = Some(key.to_owned());
        self
    }

    /// Jobs of a group, [any text](self#names), run one at a time, in the order in which they were enqueued.
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// It expires after this time, counted from the commit: it is not run if it has not started by then. New in version 0.1.1 of the
    /// contract, as are the options below.
    pub fn expires_in(mut self, after: Duration) -> Self {
        self.expires_in = Some(after);
        self.newer()
    }

    /// The longest time of one of its attempts, above zero. Its worker's setting if not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self.newer()
    }

    /// How many units it uses of the limits that its worker has for the jobs of several queues, at least 1; 1 if not set.
    pub fn weight(mut self, units: u32) -> Self {
        self.weight = Some(units);
        self.newer()
    }

    /// Adds a tag, by which the application finds it. A job has at most 16 different tags, each a text of 1 to 64 bytes without control
    /// characters.
    pub fn tag(mut self, tag: &str) -> Self {
        self.tags.push(tag.to_owned());
        self.newer()
    }

    /// Adds several [tags](Self::tag).
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self.newer()
    }

    /// Sets a header: a text with a name that goes to its handler beside the payload. The same name again replaces the value. A name has
    /// 1 to 128 bytes, and all names and values of a job have 4 KiB at most.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self.newer()
    }

    /// Sets several [headers](Self::header).
    pub fn headers<N: Into<String>, V: Into<String>>(mut self, headers: impl IntoIterator<Item = (N, V)>) -> Self {
        self.headers.extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        self.newer()
    }

    /// As [`unique_key`](Self::unique_key), with another way to hold the key, or another answer if it is held.
    pub fn unique(mut self, key: &str, mode: Unique) -> Self {
        (self.unique_key, self.unique) = (Some(key.to_owned()), mode);
        self.newer()
    }

    /// For how long the [`unique_key`](Self::unique_key) is held at least, counted from the commit, instead of five minutes; at most 30
    /// days. With zero, only until the job has ended. Not with another mode than [`Unique::until_ended`].
    pub fn unique_for(mut self, at_least: Duration) -> Self {
        self.unique_for = Some(at_least);
        self.newer()
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

/// Stages all of these jobs, or none of them if one is refused: as [`NewJob::enqueue`] does with one. At most 1,000 jobs in one call. New in
/// version 0.1.1 of the contract.
///
/// ```
/// use millpond_guest::Result;
/// use millpond_guest::enqueue::{NewJob, enqueue_many};
/// use millpond_guest::testing::Host;
///
/// fn split(pages: Vec<String>) -> Result<usize> {
///     let jobs = pages.iter().map(|page| NewJob::new("index", page));
///     Ok(enqueue_many(jobs.collect::<Result<Vec<_>>>()?)?.len())
/// }
///
/// let mut host = Host::new();
/// assert_eq!(host.run(split, &["a", "b"]).json(), Some(2));
/// assert_eq!(host.enqueued().len(), 2);
/// ```
///
/// # Errors
/// Which job was refused, and why.
pub fn enqueue_many(jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<String>, RefusedJob> {
    let jobs: Vec<NewJob> = jobs.into_iter().take(HANDLES + 1).collect();
    if jobs.len() > HANDLES {
        return Err(RefusedJob { index: HANDLES, error: Error::QuotaExceeded });
    }
    host::enqueue_many(jobs)
}

/// The job because of which [`enqueue_many`] has enqueued none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedJob {
    /// Its index, from 0.
    pub index: usize,
    /// Why it was refused.
    pub error: Error,
}

impl fmt::Display for RefusedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no job of the batch was enqueued, because of the one at index {}: {}", self.index, self.error)
    }
}

impl std::error::Error for RefusedJob {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// How a job holds its [unique key](NewJob::unique), and what happens if another job holds it.
///
/// | | the key is held | a job that comes meanwhile |
/// |---|---|---|
/// | [`until_ended`](Self::until_ended) | until the job has ended | is not stored |
/// | [`until_started`](Self::until_started) | until the job has started | is not stored |
/// | ... [`.replace()`](Self::replace) | the same | replaces the job that is there, if it waits |
/// | ... [`.debounce(..)`](Self::debounce) | the same | replaces it, and it waits anew |
/// | [`throttle`](Self::throttle) | for a window of time | is not stored |
/// | [`keep_latest`](Self::keep_latest) | until the job has started | replaces the job that is there, if it waits; one runs at a time |
///
/// Only a job of the same kind is replaced.
///
/// ```
/// use millpond_guest::enqueue::{NewJob, Unique};
///
/// let index = NewJob::raw("index", *b"7").unique("shop-7", Unique::keep_latest());
/// # let _ = index;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Unique {
    pub(crate) hold: Hold,
    pub(crate) conflict: Conflict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Hold {
    #[default]
    UntilEnded,
    UntilStarted,
    Throttle(Duration),
    KeepLatest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Conflict {
    #[default]
    Keep,
    Replace,
    Debounce {
        quiet: Duration,
        at_most: Duration,
    },
}

impl Unique {
    /// The key is held until the job has ended. This is the default.
    pub const fn until_ended() -> Self {
        Self { hold: Hold::UntilEnded, conflict: Conflict::Keep }
    }

    /// The key is held until the job has started: one can wait while one runs.
    pub const fn until_started() -> Self {
        Self { hold: Hold::UntilStarted, conflict: Conflict::Keep }
    }

    /// At most one job is stored in each window of time, counted from the commit of the first, whatever becomes of it. More than zero,
    /// at most 30 days. Not with [`replace`](Self::replace) or [`debounce`](Self::debounce).
    pub const fn throttle(window: Duration) -> Self {
        Self { hold: Hold::Throttle(window), conflict: Conflict::Keep }
    }

    /// At most one job with this key runs, and at most one is next, which has the payload and options of the latest. The job is in the
    /// group that has the name of the key, and cannot have another one.
    pub const fn keep_latest() -> Self {
        Self { hold: Hold::KeepLatest, conflict: Conflict::Keep }
    }

    /// If the key's job waits and has the same kind, it gets the payload and options of the new one.
    pub const fn replace(self) -> Self {
        Self { conflict: Conflict::Replace, ..self }
    }

    /// As [`replace`](Self::replace), and the job starts when there was no enqueue with its key for the time `quiet`, but at the latest
    /// `at_most` after the first one. `quiet` is above zero, and `at_most` not shorter. Not with [`NewJob::delay`].
    pub const fn debounce(self, quiet: Duration, at_most: Duration) -> Self {
        Self { conflict: Conflict::Debounce { quiet, at_most }, ..self }
    }

    /// Whether a job that comes replaces the one that is there.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn replaces(self) -> bool {
        self.conflict != Conflict::Keep || self.hold == Hold::KeepLatest
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
