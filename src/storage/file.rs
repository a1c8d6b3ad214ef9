//! What the file is to the operating system: which one it is, whether it still has a name, and what
//! a write that it refused can have left behind.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::{BackendError, StorageBackend};

use crate::sync::atomic::{AtomicBool, Ordering};

/// Which file it is, whatever its name. Not known on every system: nothing then differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    pub fn of(file: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((file.dev(), file.ino())))
    }

    #[cfg(not(unix))]
    pub fn of(_: &std::fs::Metadata) -> Self {
        Self(None)
    }
}

/// Whether the open file has no name any more: what is written to it goes when it is closed.
#[cfg(unix)]
pub(super) fn is_deleted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|file| file.nlink() == 0)
}

#[cfg(not(unix))]
pub(super) fn is_deleted(_: &File) -> bool {
    false
}

/// Whether the disk has been told to make the present commit durable. Before that nothing of it can be:
/// a commit counts only if all of its pages are there. By default nobody watches.
#[derive(Clone, Debug, Default)]
pub(super) struct SyncWatch(Option<Arc<AtomicBool>>);

impl SyncWatch {
    pub fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// A commit begins.
    pub fn begin(&self) {
        self.set(false);
    }

    /// Whether it has come to a sync, or nobody knows.
    pub fn is_synced(&self) -> bool {
        self.0.as_ref().is_none_or(|synced| synced.load(Ordering::SeqCst))
    }

    fn set(&self, synced: bool) {
        if let Some(flag) = &self.0 {
            flag.store(synced, Ordering::SeqCst);
        }
    }
}

/// A backend whose syncs are watched.
#[derive(Debug)]
pub(super) struct Watched<B> {
    pub backend: B,
    pub syncs: SyncWatch,
}

impl<B: StorageBackend> StorageBackend for Watched<B> {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        // Before it is tried: one that fails may have done its work.
        self.syncs.set(true);
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
