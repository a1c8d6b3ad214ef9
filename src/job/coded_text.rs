//! A text that the payload codec has made bytes of, as a text again: errors and reasons are stored as texts.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;

/// What a coded text begins with, so that it is told from one that was stored without a payload codec.
const PREFIX: &str = "\u{1}coded:";

/// The most bytes that a payload codec can make of a text, which has 4 KiB at most.
const BYTES_MAX: usize = 8 << 10;

pub(super) fn is_coded(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The bytes as a text: the prefix, and base64 without padding.
///
/// # Errors
/// A text to be stored instead, if there are too many.
pub(super) fn write(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > BYTES_MAX {
        let len = bytes.len();
        return Err(format!("the payload codec has made {len} bytes of this text, the limit is {BYTES_MAX}"));
    }
    let mut text = PREFIX.to_owned();
    STANDARD_NO_PAD.encode_string(bytes, &mut text);
    Ok(text)
}

/// The bytes of a coded text. `None` if it is not one that was [written](write).
pub(super) fn read(text: &str) -> Option<Bytes> {
    STANDARD_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    #[test]
    fn bytes_of_every_length_come_back() {
        for len in 0..100 {
            let bytes: Vec<u8> = (0..len).map(|n: u8| n.wrapping_mul(97).wrapping_add(191)).collect();
            let text = write(&bytes).unwrap();
            assert!(is_coded(&text) && text[PREFIX.len()..].bytes().all(|byte| ALPHABET.contains(&byte)));
            assert_eq!(read(&text).as_deref(), Some(&bytes[..]), "{len}");
        }
    }

    #[test]
    fn other_texts_are_not_read() {
        for wrong in ["", "AAAA", "\u{1}coded:A", "\u{1}coded:A=", "\u{1}coded:AB", "\u{1}coded:é"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(write(&[0; BYTES_MAX]).is_ok());
        assert!(write(&[0; BYTES_MAX + 1]).is_err());
    }
}
