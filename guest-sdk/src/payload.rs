//! What goes into a handler and comes out of it.

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::json;

/// What a handler may take: anything that serde can read from JSON, or [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from a job's payload",
    note = "derive `serde::Deserialize` for it, or take `millpond_guest::Raw` for the bytes as they are"
)]
pub trait Payload: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// A dead letter: what cannot be read now cannot be read later.
    fn from_bytes(bytes: Vec<u8>) -> Result<Self>;
}

/// What a handler may return: anything that serde can write as JSON, or [`Raw`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a job's result",
    note = "derive `serde::Serialize` for it, or return `()` for none or `millpond_guest::Raw` for bytes as they are"
)]
pub trait Reply {
    /// Writes it. Nothing at all is no result.
    ///
    /// # Errors
    /// A dead letter, where the value has no JSON: a map whose keys are not strings, a float that is NaN or infinite.
    fn into_bytes(self) -> Result<Vec<u8>>;
}

impl<T: DeserializeOwned> Payload for T {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::dead_letter(format_args!("the payload is not what this handler takes: {error}")))
    }
}

impl<T: Serialize> Reply for T {
    fn into_bytes(self) -> Result<Vec<u8>> {
        let bytes = written(&self)?;
        // What `()` and `None` are written as.
        Ok(if bytes == b"null" { Vec::new() } else { bytes })
    }
}

/// A result that is always written as JSON, also where it is `null`. Without it `()` and `None` are no result, so nothing is kept.
///
/// Use it if the application's type of the kind's results is an `Option`, and it waits for `None` as well.
///
/// ```
/// use millpond_guest::{Json, Result};
///
/// #[millpond_guest::handler]
/// fn first_word(text: String) -> Result<Json<Option<String>>> {
///     Ok(Json(text.split_whitespace().next().map(str::to_owned)))
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Json<T>(pub T);

impl<T: Serialize> Reply for Json<T> {
    fn into_bytes(self) -> Result<Vec<u8>> {
        written(&self.0)
    }
}

fn written<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    json::written(value)
        .map_err(|error| Error::dead_letter(format_args!("the result cannot be written as JSON: {error}")))
}

/// Bytes as they are, into a handler or out of it: an image, a message of another format.
///
/// ```
/// use millpond_guest::{Raw, Result};
///
/// #[millpond_guest::handler]
/// fn reverse(mut bytes: Raw) -> Result<Raw> {
///     bytes.0.reverse();
///     Ok(bytes)
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raw(pub Vec<u8>);

impl Payload for Raw {
    fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(bytes))
    }
}

impl Reply for Raw {
    fn into_bytes(self) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

impl Deref for Raw {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Raw {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}
