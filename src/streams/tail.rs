//! Reads entries as they are appended.

use std::collections::VecDeque;

use super::{Entry, Stream};
use crate::error::Error;
use crate::job::Start;
use crate::runtime::beside;

/// How many entries are read at a time.
const READ_AT_ONCE: usize = 256;

/// Reads the entries of a stream as they are appended. [`Stream::tail`] returns it.
///
/// It keeps no place in the file: after a restart it begins where it is told to. A [consumer](crate::Millpond::consumer) has a
/// cursor.
pub struct Tail {
    stream: Stream,
    start: Start,
    /// The offset of the next entry, once it is known.
    next: Option<u64>,
    read: VecDeque<Entry>,
}

impl Tail {
    pub(super) fn new(stream: Stream, start: Start) -> Self {
        let mut tail = Self { stream, start, next: None, read: VecDeque::new() };
        // "From now on" is from this call on. An error is returned by `next`, which tries again.
        let _ = tail.begin();
        tail
    }

    /// Waits for the next entry. `None` when the queue is shut down. An error ends nothing: the next call tries again.
    ///
    /// # Errors
    /// Storage errors.
    pub async fn next(&mut self) -> Option<Result<Entry, Error>> {
        let engine = self.stream.engine.clone();
        loop {
            let mut grown = std::pin::pin!(engine.grown());
            // From here on no entry is missed.
            grown.as_mut().enable();
            if let Some(entry) = self.read.pop_front() {
                self.next = Some(entry.offset + 1);
                return Some(Ok(entry));
            }
            if engine.is_stopping() || engine.is_closed() {
                return None;
            }
            match beside(engine.clone(), self.page()).await {
                Ok(page) if page.is_empty() => grown.await,
                Ok(page) => self.read = page.into(),
                Err(Error::Closed) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn begin(&mut self) -> Result<u64, Error> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let reader = self.stream.engine.reader()?;
        let first = match reader.stream(&self.stream.name)? {
            Some(row) => reader.first_entry_at(&row, self.start)?,
            None => 0,
        };
        self.next = Some(first);
        Ok(first)
    }

    /// What reads the next entries. It runs on a thread that may block.
    fn page(&mut self) -> impl FnOnce() -> Result<Vec<Entry>, Error> + Send + 'static {
        let from = self.begin();
        let stream = self.stream.clone();
        move || match stream.read(from?, READ_AT_ONCE) {
            // It is made with its first entry.
            Err(Error::NoSuchStream { .. }) => Ok(Vec::new()),
            page => page,
        }
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("stream", &self.stream.name).field("next", &self.next).finish_non_exhaustive()
    }
}
