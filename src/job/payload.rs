//! The payload of a job, and how its bytes are to be read.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::checked::{Check, ReadBack};
use crate::error::BoxError;
use crate::text::printable;

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

/// A typed job: a serde struct with the name of its kind.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Welcome {
///     email: String,
/// }
///
/// impl millpond::Kind for Welcome {
///     const KIND: &'static str = "welcome";
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a kind of job",
    label = "not a kind of job",
    note = "implement it: `impl millpond::Kind for {Self} {{ const KIND: &'static str = \"...\"; }}`; the type must also be `Serialize` and `DeserializeOwned`",
    note = "a payload without a type of its own is a `NewJob::json` or `NewJob::raw`, and `handle_raw` takes it"
)]
pub trait Kind: Serialize + DeserializeOwned + Send + 'static {
    /// The kind's name, by which a worker finds its handler. Letters, digits and `. _ : -`, at
    /// most 128 bytes. It is stored with every job: renaming it orphans those that wait.
    const KIND: &'static str;

    /// How payloads of this kind are written. JSON unless overridden; must not be [`Codec::Raw`].
    const CODEC: Codec = Codec::Json;
}

/// A payload as it is stored: its bytes and how to read them.
///
/// ```
/// use millpond::{Codec, Payload};
///
/// let payload = Payload::encode(Codec::Json, &[1, 2, 3])?;
/// assert_eq!(&payload.bytes[..], b"[1,2,3]");
/// assert_eq!(payload.decode::<Vec<u64>>()?, [1, 2, 3]);
/// assert!(Payload::raw("abc").decode::<String>().is_err());
/// # Ok::<(), millpond::BoxError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// How the bytes are to be read.
    pub codec: Codec,
    /// The bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// Encodes `value` with `codec`.
    ///
    /// # Errors
    /// What the encoder says, and a [`PayloadError`](crate::PayloadError) for a value that the codec would change.
    /// [`Codec::Raw`] cannot encode a value.
    pub fn encode<T: Serialize>(codec: Codec, value: &T) -> Result<Self, BoxError> {
        Self::written(codec, value).map(|(payload, _)| payload)
    }

    /// Encodes `value`, and says what has to be done to know that it comes back.
    pub(super) fn written<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<(Self, ReadBack), BoxError> {
        let check = Check::new(codec);
        let bytes = match codec {
            Codec::Json => serde_json::to_vec(&check.watch(value)).map_err(|error| check.explain(error))?,
            Codec::Postcard => postcard::to_stdvec(&check.watch(value)).map_err(|error| check.explain(error))?,
            Codec::Raw => return Err("a raw payload is given as bytes, not as a value".into()),
        };
        Ok((Self { codec, bytes: bytes.into() }, check.read_back()))
    }

    /// Bytes that only the handler understands.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { codec: Codec::Raw, bytes: bytes.into() }
    }

    /// Reads the value back, from all of the bytes.
    ///
    /// # Errors
    /// What the decoder says, also of bytes that are left over; [`Codec::Raw`] cannot be decoded into a value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        match self.codec {
            Codec::Json => Ok(serde_json::from_slice(&self.bytes)?),
            Codec::Postcard => match postcard::take_from_bytes(&self.bytes)? {
                (value, []) => Ok(value),
                (_, rest) => Err(format!(
                    "{} bytes are left over: the payload was written from a type of another shape",
                    rest.len()
                )
                .into()),
            },
            Codec::Raw => Err("a raw payload has no type: register the handler with `handle_raw`".into()),
        }
    }
}

/// JSON as it is, as far as it is [printable](crate::printable); everything else as its length.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.codec, std::str::from_utf8(&self.bytes)) {
            (Codec::Json, Ok(text)) => f.write_str(&printable(text)),
            (codec, _) => write!(f, "{codec:?}[{} bytes]", self.bytes.len()),
        }
    }
}

/// A struct of `codec` and `value`, the payload's own text if it is JSON: numbers, the order of keys and keys that are
/// there twice are shown as they are. `serde_json` writes that text as it is; other formats get it as a string in a
/// struct of `serde_json`'s ([`RawValue`](serde_json::value::RawValue)). Any other payload has `bytes` in place of `value`.
impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Payload", 2)?;
        fields.serialize_field("codec", &self.codec)?;
        match self.codec {
            Codec::Json => match serde_json::from_slice::<&RawValue>(&self.bytes) {
                Ok(text) => fields.serialize_field("value", text)?,
                Err(_) => fields.serialize_field("bytes", &self.bytes)?,
            },
            _ => fields.serialize_field("bytes", &self.bytes)?,
        }
        fields.end()
    }
}
