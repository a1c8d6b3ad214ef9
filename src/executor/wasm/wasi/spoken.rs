//! What one attempt has printed: the lines that have not ended yet, and the end of standard error.

use crate::text::printable;

/// The longest line in bytes. A longer line is logged in pieces.
pub(super) const LINE_BYTES_MAX: usize = 4 << 10;

/// How much of the end of standard error is kept for the attempt's error, in bytes. An interpreter prints its exception
/// there. An error keeps 4 KiB, and the trap itself comes first in it.
const TAIL_BYTES_MAX: usize = 3 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// What one attempt has printed.
#[derive(Default)]
pub(in crate::executor::wasm) struct Spoken {
    /// The lines that have not ended yet.
    out: Vec<u8>,
    err: Vec<u8>,
    /// The end of standard error, at most twice [`TAIL_BYTES_MAX`] bytes.
    tail: Vec<u8>,
}

impl Spoken {
    pub(super) fn note(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..]);
        if self.tail.len() > 2 * TAIL_BYTES_MAX {
            self.tail.drain(..self.tail.len() - TAIL_BYTES_MAX);
        }
    }

    /// The end of what the guest wrote to standard error, made printable.
    pub fn last_words(&self) -> Option<String> {
        let tail = &self.tail[self.tail.len().saturating_sub(TAIL_BYTES_MAX)..];
        let text = printable(String::from_utf8_lossy(tail).trim()).into_owned();
        // Escapes make the text longer, so it is cut again. The end is kept, because the error is there.
        let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES_MAX));
        (!text.is_empty()).then(|| text[start..].to_owned())
    }

    pub(super) fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_standard_error_is_kept_within_its_limit_and_made_printable() {
        let mut spoken = Spoken::default();
        for _ in 0..1_000 {
            spoken.note(&[0x1b; 100]);
        }
        assert!(spoken.tail.len() <= 2 * TAIL_BYTES_MAX);
        spoken.note(b"the end\n");
        let words = spoken.last_words().unwrap();
        assert!(words.len() <= TAIL_BYTES_MAX && words.ends_with(r"\u{1b}the end"), "{words}");
        assert_eq!(Spoken::default().last_words(), None);
    }
}
