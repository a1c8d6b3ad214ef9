//! The error of a payload that its codec cannot read back as it was.

use std::fmt;

use crate::error::BoxError;

/// Why a payload was refused: its codec could not bring it back as it was. It is the source of
/// [`Error::Unencodable`](crate::Error::Unencodable).
///
/// Each variant that concerns one place in the payload says which: `path` is made of field names, keys and
/// `[indexes]`, and is empty for the payload itself.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let refused = pond.enqueue("sensors", NewJob::json("reading", &[20.5, f64::NAN])).await;
/// let Err(Error::Unencodable { source, .. }) = refused else { panic!("{refused:?}") };
/// match source.downcast_ref() {
///     Some(PayloadError::NotFinite { path }) => assert_eq!(path, "[1]"),
///     _ => panic!("{source}"),
/// }
/// # Ok(()) });
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// JSON has no NaN and no infinity: they would be written as `null`.
    #[error(
        "{}a float is NaN or infinite, which JSON cannot write: use an `Option`, a string, or `Codec::Postcard`",
        Place(path)
    )]
    NotFinite {
        /// Its place in the value.
        path: String,
    },
    /// JSON writes this `Some` as `null`, and reads `null` as `None`.
    #[error(
        "{}a `Some` holds what JSON writes as null, and would be read as `None`: use an enum, or leave the `None` out",
        Place(path)
    )]
    NullInSome {
        /// Its place in the value.
        path: String,
    },
    /// Lists, maps, structs and enums are nested deeper than a reader can read.
    #[error(
        "{}values are nested deeper than {max} levels, the most that is read back: flatten the payload",
        Place(path)
    )]
    TooDeep {
        /// Where the limit is passed.
        path: String,
        /// The limit, in levels.
        max: usize,
    },
    /// Postcard writes no names, so a field that is left out moves all that follow it.
    #[error(
        "{}the field is left out, which postcard cannot express: remove `skip_serializing_if`, or use `Codec::Json`",
        Place(path)
    )]
    SkippedField {
        /// The field.
        path: String,
    },
    /// Postcard writes the length of a list or map ahead of it.
    #[error(
        "{}postcard needs the length of each list and map ahead, which `#[serde(flatten)]` does not give: use `Codec::Json`",
        Place(path)
    )]
    UnknownLength {
        /// The list or map.
        path: String,
    },
    /// The type cannot be read from what was written of this value.
    #[error("what was written cannot be read back as the type it was written from: change the type or its codec")]
    NotReadBack {
        /// What the decoder said.
        source: BoxError,
    },
    /// The type was read from what was written, and writes something else.
    #[error("it comes back changed: it was written as {written}, and what was read back is written as {read}")]
    Changed {
        /// What was written, or the part of it that differs.
        written: String,
        /// What was written of the value that was read back.
        read: String,
    },
}

struct Place<'p>(&'p str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "at {:?}: ", self.0) }
    }
}
