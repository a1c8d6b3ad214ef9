//! The payload of a job, and how its bytes are to be read.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::checked::{Check, ReadBack};
use super::codec::Codec;
use super::kind_options::KindOptions;
use crate::error::BoxError;
use crate::text::printable;

/// A typed job: a serde struct with the name of its kind.
///
/// A kind can also have [options](Self::options) for all its jobs, a queue of its own ([`HasQueue`](crate::HasQueue)) and a
/// type of its results ([`HasOutput`](crate::HasOutput)). `#[derive(Kind)]` implements all of them.
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

    /// The options that the jobs of this kind have unless they are given others: none by default. [`KindOptions`] says which
    /// options win. It is called for each job, and must return the same options each time.
    fn options() -> KindOptions {
        KindOptions::new()
    }
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
