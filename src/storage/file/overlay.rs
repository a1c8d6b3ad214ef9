//! Reads a file on a disk that refuses writes. The writes that redb makes while it opens the file stay in memory.
//!
//! After a failed commit redb must repair the file before it can read it, and a repair writes.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
// Not the locks of `crate::sync`: redb calls this code while it holds locks of its own.
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::{BackendError, StorageBackend};

/// The size of the blocks in which writes are kept, in bytes.
const BLOCK_BYTES: u64 = 4 << 10;

/// The most bytes of writes that are kept in memory. A repair writes only a few pages.
const KEPT_BYTES_MAX: u64 = 64 << 20;

/// A backend whose writes never reach the backend below it.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Overlay(Arc<RwLock<Layers>>);

#[derive(Debug)]
struct Layers {
    /// The backend below. `None` after the file was opened again or closed.
    below: Option<Arc<dyn StorageBackend>>,
    len: u64,
    /// The visible length of the file below. Later bytes are hidden, because the file was shortened.
    below_len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    pub fn over(below: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = below.len()?;
        Ok(Self(Arc::new(RwLock::new(Layers { below: Some(below), len, below_len: len, blocks: BTreeMap::new() }))))
    }

    fn layers(&self) -> RwLockReadGuard<'_, Layers> {
        self.0.read().unwrap_or_else(|e| e.into_inner())
    }

    fn layers_mut(&self) -> RwLockWriteGuard<'_, Layers> {
        self.0.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Closes the backend below, even if a read is under way. Reads fail from now on.
    pub fn detach(&self) {
        let below = self.layers_mut().below.take();
        if let Some(below) = below {
            let _ = below.close();
        }
    }
}

impl Layers {
    fn below(&self) -> io::Result<&Arc<dyn StorageBackend>> {
        let gone = || io::Error::other("the file is being opened again: try the read again");
        self.below.as_ref().ok_or_else(gone)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset.saturating_add(out.len() as u64);
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let below = self.below()?;
        let there = self.below_len.clamp(offset, end) - offset;
        let (from_below, rest) = out.split_at_mut(there as usize);
        if !from_below.is_empty() {
            below.read(offset, from_below)?;
        }
        rest.fill(0);
        for (block, bytes) in self.blocks.range(offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)) {
            let at = block * BLOCK_BYTES;
            let (from, to) = (at.max(offset), (at + BLOCK_BYTES).min(end));
            out[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset.saturating_add(data.len() as u64);
        for block in offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES) {
            let at = block * BLOCK_BYTES;
            if !self.blocks.contains_key(&block) {
                if (self.blocks.len() as u64 + 1) * BLOCK_BYTES > KEPT_BYTES_MAX {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let mut bytes = vec![0; BLOCK_BYTES as usize];
                let there = self.len.clamp(at, at + BLOCK_BYTES) - at;
                self.read(at, &mut bytes[..there as usize])?;
                self.blocks.insert(block, bytes);
            }
            let bytes = self.blocks.get_mut(&block).expect("it was put there");
            let (from, to) = (at.max(offset), (at + BLOCK_BYTES).min(end));
            bytes[(from - at) as usize..(to - at) as usize]
                .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
        }
        self.len = self.len.max(end);
        Ok(())
    }

    fn set_len(&mut self, len: u64) {
        self.blocks.retain(|block, _| block * BLOCK_BYTES < len);
        if let Some(bytes) = self.blocks.get_mut(&(len / BLOCK_BYTES)) {
            // Bytes that were cut off are zero if the file grows again.
            bytes[(len % BLOCK_BYTES) as usize..].fill(0);
        }
        self.len = len;
        self.below_len = self.below_len.min(len);
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.layers().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.layers().read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.layers_mut().set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.layers_mut().write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.detach();
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.layers().below()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.layers().below()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.layers().below()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.layers().below()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match &self.layers().below {
            Some(below) => below.unlock_range(start, end),
            None => Ok(()),
        }
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.layers().below()?.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    #[test]
    fn writes_can_be_read_again_and_never_reach_the_backend_below() {
        let below = Arc::new(InMemoryBackend::new());
        below.set_len(3 * BLOCK_BYTES).unwrap();
        below.write(0, &vec![1; 3 * BLOCK_BYTES as usize]).unwrap();
        let overlay = Overlay::over(below.clone()).unwrap();

        let mut expected = vec![1; 3 * BLOCK_BYTES as usize];
        let at = BLOCK_BYTES as usize - 2;
        overlay.write(at as u64, &[2, 3, 4, 5]).unwrap();
        expected[at..at + 4].copy_from_slice(&[2, 3, 4, 5]);
        overlay.set_len(5 * BLOCK_BYTES).unwrap();
        expected.resize(5 * BLOCK_BYTES as usize, 0);
        overlay.write(4 * BLOCK_BYTES + 7, &[6]).unwrap();
        expected[4 * BLOCK_BYTES as usize + 7] = 6;

        let mut found = vec![9; expected.len()];
        overlay.read(0, &mut found).unwrap();
        assert!(found == expected);
        let mut part = [0; 4];
        overlay.read(at as u64, &mut part).unwrap();
        assert_eq!(part, [2, 3, 4, 5]);
        assert!(overlay.read(5 * BLOCK_BYTES - 1, &mut part).is_err(), "there is no more");

        overlay.set_len(BLOCK_BYTES).unwrap();
        overlay.set_len(2 * BLOCK_BYTES).unwrap();
        overlay.read(BLOCK_BYTES - 2, &mut part).unwrap();
        assert_eq!(part, [2, 3, 0, 0], "what was cut off is empty when it comes back");

        let mut untouched = vec![0; 3 * BLOCK_BYTES as usize];
        below.read(0, &mut untouched).unwrap();
        assert!(untouched.iter().all(|byte| *byte == 1));
        overlay.detach();
        assert!(overlay.read(0, &mut part).is_err());
    }

    #[test]
    fn the_writes_kept_in_memory_are_bounded() {
        let overlay = Overlay::over(Arc::new(InMemoryBackend::new())).unwrap();
        overlay.set_len(2 * KEPT_BYTES_MAX).unwrap();
        let megabyte = vec![1; 1 << 20];
        let written = (0..).take_while(|n| overlay.write(n << 20, &megabyte).is_ok()).count();
        assert_eq!(written as u64, KEPT_BYTES_MAX >> 20);
    }
}
