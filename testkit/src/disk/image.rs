//! The bytes of a simulated disk.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::LogEntry;

const PAGE: usize = 4096;

/// The bytes of a disk: a base that many images share, and the pages in which this one differs.
#[derive(Clone, Debug, Default)]
pub struct Image {
    base: Arc<Vec<u8>>,
    /// How much of the base still counts: the image was cut off there.
    base_len: usize,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    len: u64,
}

impl Image {
    /// An image of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { base: Arc::new(bytes), base_len: len, pages: HashMap::new(), len: len as u64 }
    }

    /// The length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of the bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(0, &mut bytes).expect("the range is within the image");
        bytes
    }

    /// Copies the changed pages into the base, so that clones are cheap again.
    pub fn flatten(&mut self) {
        if self.pages.is_empty() && self.base_len as u64 == self.len && self.base.len() == self.base_len {
            return;
        }
        let base = Arc::make_mut(&mut self.base);
        base.resize(self.base_len, 0);
        base.resize(self.len as usize, 0);
        for (number, page) in self.pages.drain() {
            let from = number as usize * PAGE;
            let end = base.len().min(from + PAGE);
            base[from..end].copy_from_slice(&page[..end - from]);
        }
        self.base_len = base.len();
    }

    /// Fills `out` with the bytes from `offset` on.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the image ends before that.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = offset as usize;
        let mut out = out;
        while !out.is_empty() {
            let within = at % PAGE;
            let (now, rest) = out.split_at_mut((PAGE - within).min(out.len()));
            match self.pages.get(&((at / PAGE) as u64)) {
                Some(page) => now.copy_from_slice(&page[within..within + now.len()]),
                None => self.read_base(at, now),
            }
            at += now.len();
            out = rest;
        }
        Ok(())
    }

    fn read_base(&self, at: usize, out: &mut [u8]) {
        let there = self.base_len.saturating_sub(at).min(out.len());
        out[..there].copy_from_slice(&self.base[at.min(self.base_len)..][..there]);
        out[there..].fill(0);
    }

    /// Writes what lies within the length: if the file did not grow, the rest has no place.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let room = self.len.saturating_sub(offset).min(data.len() as u64) as usize;
        let mut at = offset as usize;
        let mut data = &data[..room];
        while !data.is_empty() {
            let within = at % PAGE;
            let (now, rest) = data.split_at((PAGE - within).min(data.len()));
            self.page(at / PAGE)[within..within + now.len()].copy_from_slice(now);
            at += now.len();
            data = rest;
        }
    }

    fn page(&mut self, number: usize) -> &mut [u8; PAGE] {
        let key = number as u64;
        if !self.pages.contains_key(&key) {
            let mut page = Box::new([0; PAGE]);
            self.read_base(number * PAGE, &mut page[..]);
            self.pages.insert(key, page);
        }
        self.pages.get_mut(&key).expect("inserted above")
    }

    /// Cuts the image off, or adds zeros.
    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            let whole = len.div_ceil(PAGE as u64);
            self.pages.retain(|&number, _| number < whole);
            let within = (len % PAGE as u64) as usize;
            if within > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE as u64))
            {
                page[within..].fill(0);
            }
            self.base_len = self.base_len.min(len as usize);
        }
        self.len = len;
    }

    /// Does what the entry says. Marks change nothing.
    pub fn apply(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::Write { offset, data } => self.write(*offset, data),
            LogEntry::SetLen(len) => self.set_len(*len),
            LogEntry::Sync | LogEntry::Start(_) | LogEntry::Ack(_) => {}
        }
    }
}
