//! Settings that the operator gave to this handler.
//!
//! ```
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Result, config};
//!
//! fn resize() -> Result<u32> {
//!     let host: String = config::required("host")?;
//!     millpond_guest::debug!("for {host}");
//!     Ok(config::parsed("width")?.unwrap_or(128))
//! }
//!
//! let mut host = Host::new().config("host", "example.org").config("width", "64");
//! assert_eq!(host.run(resize, &()).json(), Some(64));
//! ```

use std::fmt::Display;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The value under `key`, or none where the operator has set nothing.
pub fn get(key: &str) -> Option<String> {
    crate::host::config(key)
}

/// The value under `key`, read as a number or whatever else.
///
/// # Errors
/// A retry that names the key, where the value cannot be read: the operator will mend it.
pub fn parsed<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>> {
    let Some(value) = get(key) else { return Ok(None) };
    match value.parse() {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(Error::retry(format_args!("the setting {key:?} cannot be read: {error}"))),
    }
}

/// The value under `key`, which has to be there.
///
/// # Errors
/// A retry that names the key, where it is missing or cannot be read: the operator will mend it.
pub fn required<T: FromStr<Err: Display>>(key: &str) -> Result<T> {
    parsed(key)?.ok_or_else(|| Error::retry(format_args!("the setting {key:?} is missing")))
}
