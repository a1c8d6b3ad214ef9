//! The SHA-256 that identifies one version of a plugin.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "wasm")]
use serde::Serializer;
use serde::{Deserialize, Serialize};

/// Which version of a plugin: the SHA-256 of its file.
///
/// ```
/// use millpond::PluginHash;
///
/// let hash = PluginHash::new([0xab; 32]);
/// assert_eq!(hash.to_string(), "ab".repeat(32));
/// assert_eq!("ab".repeat(32).parse(), Ok(hash));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PluginHash([u8; 32]);

impl PluginHash {
    /// The version whose file has this SHA-256.
    pub const fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The hash's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Serializes it as hexadecimal digits, where people read it.
    #[cfg(feature = "wasm")]
    pub(crate) fn in_hex<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl fmt::Display for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PluginHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PluginHash {
    type Err = ParsePluginHashError;

    /// Reads 64 hexadecimal digits, upper or lower case, as `sha256sum` prints them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<u32> =
            text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>().ok_or(ParsePluginHashError)?;
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() {
            return Err(ParsePluginHashError);
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = (pair[0] << 4 | pair[1]) as u8;
        }
        Ok(Self(hash))
    }
}

/// The text is not a [`PluginHash`]: 64 hexadecimal digits.
///
/// ```
/// use millpond::{ParsePluginHashError, PluginHash};
///
/// assert_eq!("abc".parse::<PluginHash>(), Err(ParsePluginHashError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a plugin's hash: expected the 64 hexadecimal digits of the SHA-256 of its file")]
pub struct ParsePluginHashError;
