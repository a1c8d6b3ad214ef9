//! The backend of every database that the queue opens itself. It records which blocks are written during a backup, lets the
//! backup read while the database is in use, and knows whether a failed commit can be in the file.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Bound, Range};
// Not the locks of `crate::sync`: redb calls this code while it holds locks of its own.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, StorageBackend};

use crate::metrics::Written;
use crate::storage::file::lock::FileLock;
use crate::sync::Process;

/// The size in bytes of the recorded blocks. 65,536 of them are a GB.
pub(in crate::storage) const BLOCK_BYTES: u64 = 16 << 10;

/// The backend of a database, and which blocks were written to it. It is kept when the file is opened again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    inner: Arc<Mutex<Inner>>,
    /// Since the last commit began, a sync was tried, or the bytes that could not be written were in the file already.
    may_count: Arc<AtomicBool>,
    written: Arc<WrittenCounters>,
}

/// What was handed to the backend since the file was opened. redb writes each page once for a commit.
#[derive(Debug, Default)]
struct WrittenCounters {
    syncs: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    backend: Option<Arc<dyn StorageBackend>>,
    /// The blocks written since they were last read out, if they are recorded.
    written: Option<BTreeSet<u64>>,
}

impl Watch {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Wraps a backend in this watch.
    pub fn over(&self, backend: impl StorageBackend) -> Watched {
        self.over_shared(Arc::new(backend))
    }

    pub fn over_shared(&self, backend: Arc<dyn StorageBackend>) -> Watched {
        self.put_over(backend, None)
    }

    /// Wraps a locked file in this watch. A database that opens it gets every lock that it asks for.
    pub fn over_file(&self, lock: &Arc<FileLock>) -> Watched {
        static DATABASES: AtomicU64 = AtomicU64::new(0);
        let database = DATABASES.fetch_add(1, Ordering::Relaxed);
        self.put_over(lock.backend(), Some(Held { lock: lock.clone(), database }))
    }

    fn put_over(&self, backend: Arc<dyn StorageBackend>, held: Option<Held>) -> Watched {
        self.inner().backend = Some(backend.clone());
        Watched { backend, watch: self.clone(), held, process: Process::current() }
    }

    pub fn backend(&self) -> Option<Arc<dyn StorageBackend>> {
        self.inner().backend.clone()
    }

    /// What was handed to the backend so far.
    pub fn written(&self) -> Written {
        let WrittenCounters { syncs, bytes } = &*self.written;
        Written { syncs: syncs.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    pub fn begin_commit(&self) {
        self.may_count.store(false, Ordering::SeqCst);
    }

    /// Whether a commit that found the disk full can be in the file all the same. Before its first sync, the bytes that did
    /// not fit are missing, unless they were in the file already: redb writes a page twice if it was evicted from its
    /// cache, and work that is repeated after a crash can find the pages of the first time. In a database that is not
    /// watched, the commit can always be in the file.
    pub fn may_count(&self) -> bool {
        self.may_count.load(Ordering::SeqCst) || self.inner().backend.is_none()
    }

    /// Starts to record the written blocks. Returns false if they are recorded already.
    pub fn begin(&self) -> bool {
        let mut inner = self.inner();
        let idle = inner.written.is_none();
        inner.written.get_or_insert_default();
        idle
    }

    /// The blocks written since the last call. A write is recorded after it is done, so that a block that was read during
    /// the write is read again.
    pub fn take(&self) -> BTreeSet<u64> {
        self.inner().written.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn end(&self) {
        self.inner().written = None;
    }

    /// Drops the backend.
    pub fn close(&self) {
        self.inner().backend = None;
    }

    fn note_resized(&self, from: u64, to: u64) {
        self.inner().note(from.min(to)..from.max(to));
    }

    fn note_written(&self, offset: u64, len: usize) {
        self.inner().note(offset..offset.saturating_add(len as u64));
    }
}

impl Inner {
    fn note(&mut self, bytes: Range<u64>) {
        if let Some(written) = &mut self.written
            && !bytes.is_empty()
        {
            written.extend(bytes.start / BLOCK_BYTES..=(bytes.end - 1) / BLOCK_BYTES);
        }
    }
}

/// A backend that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    backend: Arc<dyn StorageBackend>,
    watch: Watch,
    held: Option<Held>,
    /// The only process that may write. redb also writes at other times than during a commit.
    process: Process,
}

/// The lock on the whole file, and the number of the database that is opened under it.
#[derive(Debug)]
struct Held {
    lock: Arc<FileLock>,
    database: u64,
}

impl Watched {
    /// The number of the database that is opened on this backend, for [`FileLock::give_to`].
    pub fn database(&self) -> u64 {
        self.held.as_ref().map_or(0, |held| held.database)
    }

    fn check_process(&self) -> io::Result<()> {
        match self.process.is_this() {
            true => Ok(()),
            false => Err(io::Error::other("the file is open in the process from which this one was forked")),
        }
    }

    /// Whether the file has these bytes already. True if it cannot be read.
    fn holds(&self, offset: u64, data: &[u8]) -> bool {
        let mut found = vec![0; data.len()];
        self.backend.read(offset, &mut found).is_err() || found == data
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_process()?;
        let before = self.backend.len()?;
        let result = self.backend.set_len(len);
        // Bytes that were cut off are zero if the file grows again.
        self.watch.note_resized(before, len);
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_process()?;
        // Recorded before the sync is tried, because a sync that fails can have written the data.
        self.watch.may_count.store(true, Ordering::SeqCst);
        self.watch.written.syncs.fetch_add(1, Ordering::Relaxed);
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_process()?;
        self.watch.written.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        let result = self.backend.write(offset, data);
        // A failed write is recorded too, because a part of it can be in the file.
        self.watch.note_written(offset, data.len());
        if result.is_err() && self.holds(offset, data) {
            self.watch.may_count.store(true, Ordering::SeqCst);
        }
        result
    }

    fn close(&self) -> io::Result<()> {
        // A forked process shares the file's lock and would release it for both processes.
        match &self.held {
            _ if !self.process.is_this() => Ok(()),
            Some(held) => held.lock.closed(held.database),
            None => self.backend.close(),
        }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.held.is_some() { Ok(true) } else { self.backend.try_lock_range(start, end) }
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.held.is_some() { Ok(true) } else { self.backend.try_lock_shared_range(start, end) }
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.held.is_some() { Ok(()) } else { self.backend.lock_range(start, end) }
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        if self.held.is_some() { Ok(()) } else { self.backend.lock_shared_range(start, end) }
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.held.is_some() || !self.process.is_this() {
            true => Ok(()),
            false => self.backend.unlock_range(start, end),
        }
    }

    /// Whether another owner holds a lock there.
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.held.is_some() { Ok(false) } else { self.backend.query_lock_range(start, end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    /// A simulated disk that a test can make full.
    #[derive(Debug)]
    struct Filling(InMemoryBackend, Arc<AtomicBool>);

    impl StorageBackend for Filling {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            match self.1.load(Ordering::SeqCst) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => self.0.write(offset, data),
            }
        }
    }

    #[test]
    fn a_commit_on_a_full_disk_may_count_only_if_what_did_not_fit_was_there_already() {
        let (watch, full) = (Watch::default(), Arc::<AtomicBool>::default());
        let disk = watch.over(Filling(InMemoryBackend::new(), full.clone()));
        disk.set_len(BLOCK_BYTES).unwrap();
        let commit = |before: &[u8], fails: &[u8]| {
            disk.write(4096, before).unwrap();
            watch.begin_commit();
            full.store(true, Ordering::SeqCst);
            disk.write(4096, fails).unwrap_err();
            full.store(false, Ordering::SeqCst);
            watch.may_count()
        };
        assert!(!commit(b"a page", b"its successor"), "the page is missing");
        assert!(commit(b"a page", b"a page"), "nothing is missing");
    }

    #[test]
    fn written_blocks_are_recorded_during_a_backup() {
        let watch = Watch::default();
        let disk = watch.over(InMemoryBackend::new());
        disk.set_len(BLOCK_BYTES * 8).unwrap();
        disk.write(0, &[1]).unwrap();
        assert!(watch.take().is_empty(), "nobody wants to know yet");
        assert!(watch.begin());
        assert!(!watch.begin(), "one at a time");
        disk.write(BLOCK_BYTES - 1, &[1, 2]).unwrap();
        disk.write(BLOCK_BYTES * 5, &[1]).unwrap();
        assert_eq!(watch.take(), [0, 1, 5].into());
        disk.set_len(BLOCK_BYTES * 6).unwrap();
        disk.set_len(BLOCK_BYTES * 8).unwrap();
        assert_eq!(watch.take(), [6, 7].into(), "what was cut off is empty when it comes back");
        watch.end();
        disk.write(0, &[1]).unwrap();
        assert!(watch.begin());
        assert!(watch.take().is_empty());
    }
}
