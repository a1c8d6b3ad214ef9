//! Bytes that outlive the queue on them: closed and opened again, or copied as they stand at a
//! crash. What is written is at once durable; the simulated disk is where writes get lost.

#![allow(dead_code)]

use std::io;
use std::sync::{Arc, RwLock};

/// A storage backend in memory whose clones are the same bytes.
#[derive(Clone, Debug, Default)]
pub struct SharedMemory {
    bytes: Arc<RwLock<Vec<u8>>>,
}

impl SharedMemory {
    pub fn new() -> Self {
        Self::default()
    }

    /// What a crash at this moment leaves: the same bytes, on their own from now on.
    pub fn image(&self) -> Self {
        let bytes = self.bytes.read().unwrap().clone();
        Self { bytes: Arc::new(RwLock::new(bytes)) }
    }
}

impl redb::StorageBackend for SharedMemory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.read().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.read().unwrap();
        let from = offset as usize;
        let part = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.write().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.write().unwrap();
        let from = offset as usize;
        let part = bytes.get_mut(from..from + data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        part.copy_from_slice(data);
        Ok(())
    }
}
