//! Durable values, private to this handler.
//!
//! An attempt reads what is committed and its own writes, which commit with the job's completion, once, and vanish otherwise. A job
//! may start before the one before it is committed: [`increment`] to count; in a group each sees what those before it wrote.
//!
//! ```
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Error, Result, state};
//!
//! fn once(delivery: String) -> Result {
//!     if state::get::<bool>(&delivery)?.is_some() {
//!         return Err(Error::dead_letter("seen before"));
//!     }
//!     state::set(&delivery, &true)?;
//!     Ok(())
//! }
//!
//! let mut host = Host::new();
//! assert!(host.run(once, &"a").is_done());
//! assert!(host.run(once, &"a").is_dead_letter());
//! ```

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{self, OrElse};
use crate::{host, json};

/// Why a call was refused. The attempt may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The key is empty or too long.
    KeyTooLarge,
    /// The value is too long.
    ValueTooLarge,
    /// The attempt, or all that the handler has stored, would be over its limit.
    QuotaExceeded,
    /// The file cannot be read right now.
    StoreUnavailable,
    /// Anything else, said in words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLarge => f.write_str("the state's key is empty or longer than the host allows"),
            Self::ValueTooLarge => f.write_str("the state's value is longer than the host allows"),
            Self::QuotaExceeded => f.write_str("the state would be over the host's limit of keys or bytes"),
            Self::StoreUnavailable => f.write_str("the state cannot be read right now"),
            Self::Other(what) => write!(f, "the state was refused: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// The value under `key`, read from JSON.
///
/// # Errors
/// The host's refusal as a retry; a dead letter where the value is not a `T`.
pub fn get<T: DeserializeOwned>(key: &str) -> error::Result<Option<T>> {
    let Some(bytes) = get_raw(key)? else { return Ok(None) };
    let value =
        serde_json::from_slice(&bytes).map_err(|error| format!("the state under {key:?} cannot be read: {error}"));
    value.map(Some).or_dead_letter()
}

/// Puts `value` under `key`, written as JSON.
///
/// # Errors
/// The host's refusal as a retry; a dead letter where the value has no JSON.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> error::Result {
    let bytes = json::written(value).or_dead_letter()?;
    Ok(set_raw(key, &bytes)?)
}

/// The bytes under `key`.
///
/// # Errors
/// The host's refusal.
pub fn get_raw(key: &str) -> Result<Option<Vec<u8>>, Error> {
    host::state_get(key)
}

/// Puts bytes under `key`.
///
/// # Errors
/// The host's refusal.
pub fn set_raw(key: &str, value: &[u8]) -> Result<(), Error> {
    host::state_set(key, value)
}

/// Removes `key`. That it was not there is no error.
///
/// # Errors
/// The host's refusal.
pub fn delete(key: &str) -> Result<(), Error> {
    host::state_delete(key)
}

/// Adds to the counter under `key`; the sum is made at commit, so jobs that run at the same time lose nothing.
///
/// ```
/// use millpond_guest::state;
///
/// state::increment("jobs", 1)?;
/// state::increment("jobs", 1)?;
/// assert_eq!(state::counter("jobs")?, 2);
/// # Ok::<(), state::Error>(())
/// ```
///
/// # Errors
/// The host's refusal; [`Error::Other`] where something else than a counter is there.
pub fn increment(key: &str, delta: i64) -> Result<(), Error> {
    host::state_increment(key, delta)
}

/// The counter under `key` as this attempt knows it; 0 where there is none.
///
/// # Errors
/// The host's refusal; [`Error::Other`] where something else than a counter is there.
pub fn counter(key: &str) -> Result<i64, Error> {
    match get_raw(key)? {
        None => Ok(0),
        Some(bytes) => match bytes.try_into() {
            Ok(bytes) => Ok(i64::from_le_bytes(bytes)),
            Err(_) => Err(Error::Other(format!("{key:?} is not a counter"))),
        },
    }
}

/// The keys that begin with `prefix`, a page at a time, with the cursor for the next one.
///
/// # Errors
/// The host's refusal.
#[cfg(feature = "state-scan")]
pub fn list_keys(prefix: &str, cursor: Option<&str>) -> Result<(Vec<String>, Option<String>), Error> {
    host::state_list_keys(prefix, cursor)
}
