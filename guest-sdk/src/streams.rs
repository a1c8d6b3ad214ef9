//! Streams: append entries to them. They are appended in the transaction that completes this job, and not at all if it does not complete. New
//! in version 0.1.3 of the contract. The operator grants the kinds and the streams.
//!
//! A handler that a consumer of one stream calls, and that appends to another one, is a transform: what it makes of each entry is in the
//! other stream exactly once.
//!
//! ```
//! use millpond_guest::enqueue::NewJob;
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Result, attempt, streams};
//!
//! fn fahrenheit(celsius: f64) -> Result {
//!     let mut entry = NewJob::new("fahrenheit", &(celsius * 1.8 + 32.0))?;
//!     if let Some(key) = attempt::entry().and_then(|entry| entry.key) {
//!         entry = entry.group(&key); // in the order of the same key
//!     }
//!     streams::append("readings-in-fahrenheit", entry)?;
//!     Ok(())
//! }
//!
//! let mut host = Host::new().entry("readings", 7).group("station-1");
//! assert!(host.run(fahrenheit, &100.0).is_done());
//! let appended = host.appended("readings-in-fahrenheit");
//! assert_eq!((appended[0].json(), appended[0].key()), (Some(212.0), Some("station-1")));
//! ```

use std::fmt;

use crate::enqueue::NewJob;
use crate::host;

/// Why an entry was refused. The attempt can continue without it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted entries of this kind in this stream, or one of them is no [name](crate::enqueue#names).
    AccessDenied,
    /// The payload is longer than that of any entry may be. One that is longer than all that the attempt may append is answered
    /// [`QuotaExceeded`](Self::QuotaExceeded).
    PayloadTooLarge,
    /// The attempt has enqueued, appended and published as much as it may, or what plugins make of each other's jobs and entries has come
    /// to its limit.
    QuotaExceeded,
    /// Anything else, said in words: an option that an entry cannot have, an invalid key, tag or header.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("this handler may not append such an entry to this stream"),
            Self::PayloadTooLarge => f.write_str("the entry's payload is longer than the host allows"),
            Self::QuotaExceeded => f.write_str("the attempt has appended as much as it may"),
            Self::Other(what) => write!(f, "the entry was refused: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Stages an entry of the stream of this name, which is made if there is none. It is appended when this job is complete, in the order of the
/// calls, and gets its offset then.
///
/// An entry is described as a job: it has a kind and a payload, its key is the [group](NewJob::group), and it can have tags and headers. It
/// can have no other option, and no queue. Its consumers handle the entries of a key one after another.
///
/// # Errors
/// The host's refusal.
pub fn append(stream: &str, entry: NewJob) -> Result<(), Error> {
    host::append(stream, entry)
}
