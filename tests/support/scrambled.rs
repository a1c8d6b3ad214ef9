//! A payload codec with a key that rotates. It is no cipher, and does the same each time.

use bytes::Bytes;
use millpond::{BoxError, PayloadCodec};

/// Changes each byte by a key, whose number it writes in front. It reads what has any number.
pub struct Scrambled {
    /// The number of the key with which it writes.
    pub key: u8,
    /// Told the number of the key of what is read.
    pub reads: fn(own: u8, other: u8),
}

impl Scrambled {
    fn changed(key: u8, bytes: &[u8]) -> impl Iterator<Item = u8> {
        let pads = (0u8..=u8::MAX).cycle().map(move |at| at.wrapping_mul(31).wrapping_add(key) | 1);
        bytes.iter().zip(pads).map(|(byte, pad)| byte ^ pad)
    }
}

impl PayloadCodec for Scrambled {
    fn name(&self) -> &str {
        "scrambled"
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        Ok(std::iter::once(self.key).chain(Self::changed(self.key, &bytes)).collect())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        let (key, changed) = bytes.split_first().ok_or("it is empty")?;
        (self.reads)(self.key, *key);
        Ok(Self::changed(*key, changed).collect())
    }
}
