//! Random numbers from the operating system, fit for secrets.

use crate::host;

/// One random number.
///
/// ```
/// assert_ne!(millpond_guest::random::u64(), millpond_guest::random::u64());
/// ```
pub fn u64() -> u64 {
    host::random_u64()
}

/// `len` random bytes.
///
/// ```
/// assert_eq!(millpond_guest::random::bytes(20).len(), 20);
/// ```
pub fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        // The host may give fewer than asked for.
        let more = host::random_bytes((len - bytes.len()) as u64);
        if more.is_empty() {
            bytes.extend(host::random_u64().to_le_bytes());
        }
        bytes.extend(more);
    }
    bytes.truncate(len);
    bytes
}
