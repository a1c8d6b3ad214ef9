//! What the other jobs of the job's flow have returned. New in version 0.1.2 of the contract. The operator opts in with a grant.
//!
//! ```
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Result, flow};
//!
//! fn mail(order: u64) -> Result<String> {
//!     let receipt: Option<String> = flow::result("charge")?;
//!     Ok(format!("order {order}: {}", receipt.unwrap_or_default()))
//! }
//!
//! let mut host = Host::new().flow_result("charge", &"receipt 7");
//! assert_eq!(host.run(mail, &7).json(), Some("order 7: receipt 7".to_owned()));
//! ```

use std::fmt;

use serde::de::DeserializeOwned;

use crate::error::{self, OrElse};
use crate::host;

/// Why a call was refused. The attempt can continue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted the results of other jobs.
    AccessDenied,
    /// The job belongs to no flow, or to one that is kept no longer.
    NoFlow,
    /// The flow has no job or signal of this name.
    NoSuchName,
    /// The file cannot be read right now.
    StoreUnavailable,
    /// Anything else, said in words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("this handler may not read the results of its flow"),
            Self::NoFlow => f.write_str("the job belongs to no flow, or to one that is kept no longer"),
            Self::NoSuchName => f.write_str("the flow has no job or signal of this name"),
            Self::StoreUnavailable => f.write_str("the flow cannot be read right now"),
            Self::Other(what) => write!(f, "the result was refused: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// What the job of this name has returned, or what was sent with the signal of this name, read from JSON. `None` if there is nothing,
/// or it has not completed.
///
/// # Errors
/// The host's refusal as a retry; a dead letter if the result is not a `T`.
pub fn result<T: DeserializeOwned>(name: &str) -> error::Result<Option<T>> {
    let Some(bytes) = result_raw(name)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes);
    value.map_err(|error| format!("the result of {name:?} cannot be read: {error}")).map(Some).or_dead_letter()
}

/// As [`result`](result()), with the bytes as they are.
///
/// # Errors
/// The host's refusal.
pub fn result_raw(name: &str) -> Result<Option<Vec<u8>>, Error> {
    host::flow_result(name)
}
