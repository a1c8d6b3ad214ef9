//! Logs what a guest prints, line by line.

use std::mem;

use super::spoken::{LINE_BYTES_MAX, Stream};
use crate::executor::wasm::contract::log::Level;
use crate::executor::wasm::guest::Guest;
use crate::text::printable;

impl Guest {
    pub(super) fn speak(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Err {
            self.spoken.note(bytes);
        }
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut rest = piece;
            while !rest.is_empty() {
                let line = self.spoken.line(stream);
                let (fits, more) = rest.split_at(rest.len().min(LINE_BYTES_MAX - line.len()));
                line.extend_from_slice(fits);
                if line.ends_with(b"\n") || line.len() == LINE_BYTES_MAX {
                    self.end_line(stream);
                }
                rest = more;
            }
        }
    }

    fn end_line(&mut self, stream: Stream) {
        let line = mem::take(self.spoken.line(stream));
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            return;
        }
        let level = if stream == Stream::Err { Level::Error } else { Level::Info };
        self.log_line(level, printable(text).into_owned());
    }

    /// Logs the lines that the guest has not ended.
    pub(in crate::executor::wasm) fn end_lines(&mut self) {
        self.end_line(Stream::Out);
        self.end_line(Stream::Err);
    }
}
