//! The payload codec that compresses with LZ4.

use bytes::Bytes;

use super::payload_codec::PayloadCodec;
use crate::error::BoxError;

/// A payload codec that compresses with [LZ4](https://lz4.org), which is fast. Requires the feature `lz4`.
///
/// Bytes that would not become fewer are stored as they are, with one byte more. Short and random bytes rarely become
/// fewer; JSON of a few hundred bytes usually does.
///
/// To compress and encrypt, write a [`PayloadCodec`] that calls this one first when it encodes and last when it decodes.
///
/// ```
/// # doc_prelude::block_on(async { use doc_prelude::*;
/// # let memory = redb::backends::InMemoryBackend::new();
/// let pond = Millpond::builder().payload_codec(Lz4::new()).open_backend(memory)?;
///
/// let import = Import { files: (0..1_000).map(|n| format!("invoices/{n}.csv")).collect() };
/// let id = pond.enqueue("imports", import).await?;
/// let stored = pond.queue("imports")?.counts().bytes;
/// assert!(stored < pond.job(id)?.payload.bytes.len() as u64 / 2);
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Lz4;

/// The first byte of bytes that are stored as they are.
const AS_THEY_ARE: u8 = 0;

/// The first byte of compressed bytes. Behind it is the length that they had, four bytes, the lowest first.
const COMPRESSED: u8 = 1;

const HEAD: usize = 1 + 4;

/// The most bytes that are read back: as many as a payload or a result can have at most. Damaged or forged bytes must not
/// take any amount of memory.
const BYTES_MAX: usize = 16 << 20;

impl Lz4 {
    /// The codec. It has no settings.
    pub const fn new() -> Self {
        Self
    }
}

impl PayloadCodec for Lz4 {
    fn name(&self) -> &str {
        "lz4"
    }

    fn encode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        let mut coded = vec![0; HEAD + lz4_flex::block::get_maximum_output_size(bytes.len())];
        let len = lz4_flex::block::compress_into(&bytes, &mut coded[HEAD..])?;
        if bytes.len() > BYTES_MAX || HEAD + len > bytes.len() {
            return Ok([&[AS_THEY_ARE], &bytes[..]].concat().into());
        }
        coded.truncate(HEAD + len);
        coded[0] = COMPRESSED;
        coded[1..HEAD].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        coded.shrink_to_fit();
        Ok(coded.into())
    }

    fn decode(&self, bytes: Bytes) -> Result<Bytes, BoxError> {
        match bytes.first() {
            Some(&AS_THEY_ARE) => Ok(bytes.slice(1..)),
            Some(&COMPRESSED) => {
                let (head, compressed) = bytes.split_at_checked(HEAD).ok_or("it is shorter than its head")?;
                let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if len > BYTES_MAX {
                    return Err(format!("it says that it has {len} bytes, the limit is {BYTES_MAX}").into());
                }
                let read = lz4_flex::block::decompress(compressed, len)?;
                match read.len() == len {
                    true => Ok(read.into()),
                    false => Err(format!("it has {} bytes and says that it has {len}", read.len()).into()),
                }
            }
            _ => Err("it was not written by this codec".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_what_repeats_becomes_less() {
        let mut rng = fastrand::Rng::with_seed(7);
        for len in [0, 1, 2, 10, 100, 1_000, 100_000] {
            let random: Bytes = (0..len).map(|_| rng.u8(..)).collect();
            let coded = Lz4.encode(random.clone()).unwrap();
            assert_eq!((coded.len(), Lz4.decode(coded).unwrap()), (len + 1, random));

            let repeats = Bytes::from(b"{\"order\":7},".repeat(len));
            let coded = Lz4.encode(repeats.clone()).unwrap();
            assert!(len < 10 || coded.len() < repeats.len() / 2, "{len}: {}", coded.len());
            assert_eq!(Lz4.decode(coded).unwrap(), repeats);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_read_as_others_and_take_no_more_memory_than_the_limit() {
        let coded = Lz4.encode(Bytes::from(b"abcdefgh".repeat(100))).unwrap();
        assert_eq!(coded[0], COMPRESSED);
        for bit in 0..coded.len() * 8 {
            let mut bad = coded.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(read) = Lz4.decode(bad.into()) {
                assert!(read.len() <= BYTES_MAX);
            }
        }
        for len in 0..coded.len() {
            let cut = Lz4.decode(coded.slice(..len));
            assert!(cut.is_err(), "cut to {len}: {cut:?}");
        }
        assert!(
            Lz4.decode(vec![COMPRESSED, 0xff, 0xff, 0xff, 0xff, 0].into()).unwrap_err().to_string().contains("limit")
        );
        assert!(Lz4.decode(Bytes::new()).is_err());
    }
}
