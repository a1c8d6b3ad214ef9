use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::BoxError;

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
    #[default]
    Json,
    /// [postcard](https://docs.rs/postcard): compact, but the struct's shape must not change while
    /// jobs wait.
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
    /// What the encoder says; [`Codec::Raw`] cannot encode a value.
    pub fn encode<T: Serialize>(codec: Codec, value: &T) -> Result<Self, BoxError> {
        let bytes = match codec {
            Codec::Json => serde_json::to_vec(value)?,
            Codec::Postcard => postcard::to_stdvec(value)?,
            Codec::Raw => return Err("a raw payload is given as bytes, not as a value".into()),
        };
        Ok(Self { codec, bytes: bytes.into() })
    }

    /// Bytes that only the handler understands.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { codec: Codec::Raw, bytes: bytes.into() }
    }

    /// Reads the value back.
    ///
    /// # Errors
    /// What the decoder says; [`Codec::Raw`] cannot be decoded into a value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        match self.codec {
            Codec::Json => Ok(serde_json::from_slice(&self.bytes)?),
            Codec::Postcard => Ok(postcard::from_bytes(&self.bytes)?),
            Codec::Raw => Err("a raw payload has no type: register the handler with `handle_raw`".into()),
        }
    }
}

/// JSON as it is; everything else as its length.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.codec, std::str::from_utf8(&self.bytes)) {
            (Codec::Json, Ok(text)) => f.write_str(text),
            (codec, _) => write!(f, "{codec:?}[{} bytes]", self.bytes.len()),
        }
    }
}

impl Serialize for Payload {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Payload", 2)?;
        fields.serialize_field("codec", &self.codec)?;
        match self.codec {
            Codec::Json => match serde_json::from_slice::<serde_json::Value>(&self.bytes) {
                Ok(value) => fields.serialize_field("value", &value)?,
                Err(_) => fields.serialize_field("bytes", &self.bytes)?,
            },
            _ => fields.serialize_field("bytes", &self.bytes)?,
        }
        fields.end()
    }
}
