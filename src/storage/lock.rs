//! The lock on an open file: one process has it, and one opening in that process.
//!
//! It covers the whole file, is taken before anything of the file is read, and is kept until the file is closed,
//! also while redb's database is closed and opened again after an I/O error: whoever came in between would run the
//! same jobs. redb asks for locks of its own each time that it opens and closes; under this one it is answered that it
//! has them.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Bound;
use std::process;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

// Not that of `crate::sync`: redb calls from under locks of its own.
use std::sync::Mutex;

/// A file that is locked, and what reads and writes it.
#[derive(Debug)]
pub(crate) struct FileLock {
    backend: Arc<FileBackend>,
    handle: File,
    /// The process that took it. One that was forked from it shares the open file, and must not unlock it.
    process: u32,
    holder: Mutex<Holder>,
}

/// Who unlocks the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Whoever has the [`FileLock`]: no database is open.
    Store,
    /// This database, when it is closed: a transaction that is still alive may keep it open for longer than the store.
    Database(u64),
    /// The store again, once this database is closed.
    StoreAfter(u64),
    Nobody,
}

impl FileLock {
    /// Locks a file. None if somebody else has it open.
    pub fn take(file: File) -> io::Result<Option<Arc<Self>>> {
        let handle = file.try_clone()?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        let lock = Self { backend: backend.into(), handle, process: process::id(), holder: Mutex::new(Holder::Store) };
        Ok(lock.acquire()?.then(|| Arc::new(lock)))
    }

    fn acquire(&self) -> io::Result<bool> {
        let whole = || match self.backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(taken) => Ok(taken),
            // There are no locks on this system: redb opens files there too.
            Err(BackendError::Unsupported) => Ok(true),
            Err(BackendError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        if !cfg!(target_os = "linux") {
            return whole();
        }
        // Before 4.3 redb locked files on Linux with `flock`, as whoever locks a file from a shell does.
        match self.handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(_)) => return whole(),
        }
        if whole()? {
            return Ok(true);
        }
        // Where both are one and the same lock, the first one is in the way of the second.
        self.handle.unlock()?;
        whole()
    }

    /// What reads and writes the file.
    pub fn backend(&self) -> Arc<dyn StorageBackend> {
        self.backend.clone()
    }

    /// To read and write the file, or to ask what has become of it.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    fn holder(&self) -> std::sync::MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// This database is open: when it is closed the file is unlocked.
    pub fn give_to(&self, database: u64) {
        *self.holder() = Holder::Database(database);
    }

    /// The database is about to be closed, and the file stays locked.
    pub fn take_back(&self) {
        let mut holder = self.holder();
        if let Holder::Database(database) = *holder {
            *holder = Holder::StoreAfter(database);
        }
    }

    /// Whether no database is open on the file. One that was let go of is open as long as a transaction of it is alive.
    pub fn is_free(&self) -> bool {
        *self.holder() == Holder::Store
    }

    /// Called when a database is closed, or when one could not be opened.
    pub fn closed(&self, database: u64) -> io::Result<()> {
        let mut holder = self.holder();
        if *holder == Holder::Database(database) {
            return self.unlock(&mut holder);
        }
        if *holder == Holder::StoreAfter(database) {
            *holder = Holder::Store;
        }
        Ok(())
    }

    /// The store is closed. If its database is still open, that one unlocks the file.
    pub fn release(&self) {
        let mut holder = self.holder();
        match *holder {
            Holder::Store => {
                if let Err(error) = self.unlock(&mut holder) {
                    tracing::warn!(%error, "the file could not be unlocked; the end of this process unlocks it");
                }
            }
            Holder::StoreAfter(database) => *holder = Holder::Database(database),
            Holder::Database(_) | Holder::Nobody => {}
        }
    }

    /// Closing the handles is not enough: read transactions of the application may hold on to them.
    fn unlock(&self, holder: &mut Holder) -> io::Result<()> {
        *holder = Holder::Nobody;
        if process::id() != self.process {
            return Ok(());
        }
        if cfg!(target_os = "linux") {
            // It may not have been taken.
            let _ = self.handle.unlock();
        }
        self.backend.close()
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::storage::{Opening, Store};

    const OPENING: Opening = Opening { cache_bytes: 1 << 20, adopt: false, check: false };

    fn is_open(path: &Path) -> bool {
        match Store::open(path, OPENING) {
            Ok(store) => {
                store.close();
                false
            }
            Err(Error::AlreadyOpen { path: named }) => named == path,
            Err(error) => panic!("{error:?}"),
        }
    }

    #[test]
    fn nobody_gets_the_file_while_its_database_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let store = Store::open(&path, OPENING).unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let tries = scope.spawn(|| {
                let mut tries = 0;
                while !is_over.load(Ordering::SeqCst) {
                    assert!(is_open(&path), "it was opened in between");
                    tries += 1;
                }
                tries
            });
            let reopened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..100 {
                    assert!(store.reopen().unwrap());
                }
            }));
            is_over.store(true, Ordering::SeqCst);
            assert!(tries.join().unwrap() > 0);
            reopened.unwrap();
        });
        let txn = store.begin_write().unwrap();
        store.commit(txn).unwrap();
        store.close();
        assert!(!is_open(&path));
    }

    #[test]
    fn a_file_whose_database_could_not_be_opened_again_stays_locked_until_it_is_closed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let store = Store::open(&path, OPENING).unwrap();
        // A transaction of the database before is in the way.
        let txn = store.begin_write().unwrap();
        assert!(matches!(store.reopen(), Err(Error::AlreadyOpen { .. })));
        assert!(matches!(store.begin_read(), Err(Error::Degraded { .. })));
        assert!(is_open(&path));
        store.abort(txn).unwrap();
        assert!(is_open(&path), "the store has it still");
        assert!(store.reopen().unwrap());
        assert!(is_open(&path));
        store.close();
        assert!(!is_open(&path));
    }

    #[test]
    fn a_write_transaction_that_outlives_the_store_keeps_the_file_locked_and_a_read_transaction_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let store = Store::open(&path, OPENING).unwrap();
        let (reads, writes) = (store.begin_read().unwrap(), store.begin_write().unwrap());
        store.close();
        assert!(is_open(&path), "somebody writes");
        drop(writes);
        assert!(!is_open(&path));
        drop(reads);
    }

    #[test]
    fn a_file_that_is_locked_by_other_means_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        Store::open(&path, OPENING).unwrap().close();
        // As redb before 4.3 does it.
        let other = File::open(&path).unwrap();
        other.lock().unwrap();
        assert!(is_open(&path));
        other.unlock().unwrap();
        let reader = redb::Database::builder().open_read_only(&path).unwrap();
        assert!(is_open(&path), "somebody reads it");
        drop(reader);
        assert!(!is_open(&path));
    }
}
