//! The backend under every database that we open ourselves: it notes what is written while a backup is
//! being taken, lets the backup read beside the database, and knows whether a failed commit may count.

use std::collections::BTreeSet;
use std::io;
use std::ops::{Bound, Range};
// Not those of `crate::sync`: redb calls from under locks of its own.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::{BackendError, StorageBackend};

use crate::storage::file::lock::FileLock;
use crate::sync::Process;

/// What is noted is rounded to blocks of so many bytes: 65,536 of them are a GB.
pub(in crate::storage) const BLOCK_BYTES: u64 = 16 << 10;

/// What stands behind a database, and what has been written to it of late. One for all the times the
/// file is opened again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    inner: Arc<Mutex<Inner>>,
    /// Since the last commit began a sync was tried, or what could not be written was there already.
    may_count: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Inner {
    backend: Option<Arc<dyn StorageBackend>>,
    /// The blocks written since they were last taken, if anybody wants to know.
    written: Option<BTreeSet<u64>>,
}

impl Watch {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Puts the watch over a backend.
    pub fn over(&self, backend: impl StorageBackend) -> Watched {
        self.over_shared(Arc::new(backend))
    }

    pub fn over_shared(&self, backend: Arc<dyn StorageBackend>) -> Watched {
        self.put_over(backend, None)
    }

    /// Puts the watch over a locked file. A database that opens it gets every lock that it asks for.
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

    pub fn begin_commit(&self) {
        self.may_count.store(false, Ordering::SeqCst);
    }

    /// Whether a commit that found the disk full may be there all the same. Before its first sync it lacks the
    /// bytes that did not fit, unless those were there already: redb writes a page twice that had to make room
    /// in its cache, and work that is done again after a crash may find its own pages. In a database that is not
    /// watched it may always be.
    pub fn may_count(&self) -> bool {
        self.may_count.load(Ordering::SeqCst) || self.inner().backend.is_none()
    }

    /// From now on what is written is noted. False if it is already.
    pub fn begin(&self) -> bool {
        let mut inner = self.inner();
        let idle = inner.written.is_none();
        inner.written.get_or_insert_default();
        idle
    }

    /// What was written since the last time. A write is noted when it is through, so that what was read
    /// while it was under way is read again.
    pub fn take(&self) -> BTreeSet<u64> {
        self.inner().written.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn end(&self) {
        self.inner().written = None;
    }

    /// Lets go of the file.
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
    /// The only one that may write. redb writes at other moments than its commits too.
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

    /// Whether these bytes are there already, as far as can be told.
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
        // What was cut off and comes back is empty.
        self.watch.note_resized(before, len);
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_process()?;
        // Before it is tried: one that fails may have done its work.
        self.watch.may_count.store(true, Ordering::SeqCst);
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_process()?;
        let result = self.backend.write(offset, data);
        // Also what failed: it may have come halfway.
        self.watch.note_written(offset, data.len());
        if result.is_err() && self.holds(offset, data) {
            self.watch.may_count.store(true, Ordering::SeqCst);
        }
        result
    }

    fn close(&self) -> io::Result<()> {
        // A forked process shares the file's lock, and would let go of it for both.
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

    /// Whether a lock is held there elsewhere.
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        if self.held.is_some() { Ok(false) } else { self.backend.query_lock_range(start, end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    /// A disk that is full on demand.
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
    fn what_is_written_is_noted_block_by_block_while_somebody_wants_to_know() {
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
