//! The codecs of payloads: how their bytes are written and read.

use serde::{Deserialize, Serialize};

/// How a payload's bytes are to be read. The record says which, so a kind may change its mind
/// while old jobs wait.
///
/// ```
/// use millpond::{Codec, Kind, Payload};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Reading { sensor: u16, value: f32 }
///
/// impl Kind for Reading {
///     const KIND: &'static str = "reading";
///     const CODEC: Codec = Codec::Postcard;
/// }
///
/// let reading = Reading { sensor: 7, value: 20.5 };
/// assert_eq!(Payload::encode(Reading::CODEC, &reading)?.bytes.len(), 5);
/// assert_eq!(Payload::encode(Codec::Json, &reading)?.bytes.len(), 25);
/// # Ok::<(), millpond::BoxError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Codec {
    /// JSON: the default. A person can read it, every language can, and a struct may grow fields
    /// (`#[serde(default)]`) while jobs wait.
    ///
    /// Not every value can be written as JSON and read back as it was. NaN and infinities, a `Some` of what is
    /// written as `null` (`Some(None)`, `Some(())`), nesting deeper than 127 levels, and 128-bit integers or keys
    /// that are no text in a type with `flatten`, `tag` or `untagged` are refused when the job is enqueued.
    #[default]
    Json,
    /// [postcard](https://docs.rs/postcard): compact, but the struct's shape must not change while
    /// jobs wait: bytes that are left over when a payload is read are an error, but bytes that happen to fit
    /// another shape are not noticed.
    ///
    /// It cannot read enums with `tag` or `untagged`, fields that `skip_serializing_if` leaves out, or `flatten`:
    /// they are refused when the job is enqueued, which reads each payload once for that.
    Postcard,
    /// Bytes that only the handler understands.
    Raw,
}
