//! Bytes in memory whose disk fails on demand.

#![allow(dead_code)]

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::shared_memory::SharedMemory;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No room for another write.
    Full,
    /// A sync says that it failed; what was written before it is there all the same.
    Sync,
    /// Nothing can be read.
    Read,
    /// A write panics, as the storage engine does in the middle of a damaged file.
    Panic,
}

/// A storage backend in memory that fails from [`fail`](Self::fail) until [`mend`](Self::mend). Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct FailingDisk {
    memory: SharedMemory,
    failure: Arc<Mutex<Option<Failure>>>,
}

impl FailingDisk {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn fail(&self, failure: Failure) {
        *self.failure.lock().unwrap() = Some(failure);
    }

    pub fn mend(&self) {
        *self.failure.lock().unwrap() = None;
    }

    /// What is on it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.memory.len().unwrap() as usize];
        self.memory.read(0, &mut bytes).unwrap();
        bytes
    }

    fn check(&self, failures: &[Failure]) -> io::Result<()> {
        let failure = *self.failure.lock().unwrap();
        match failure {
            Some(failure) if failures.contains(&failure) => Err(match failure {
                Failure::Full => io::ErrorKind::StorageFull.into(),
                Failure::Sync | Failure::Read => io::Error::other("input/output error"),
                Failure::Panic => panic!("a damaged page"),
            }),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for FailingDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(&[Failure::Read])?;
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(&[Failure::Full])?;
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(&[Failure::Sync])?;
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check(&[Failure::Full, Failure::Panic])?;
        self.memory.write(offset, data)
    }
}
