//! The lock on an open file. Only one opener in one process can hold it.
//!
//! The lock covers the whole file. It is taken before anything is read from the file, and it is kept until the file is
//! closed. It is also kept while the redb database is closed and opened again after an I/O error, because another
//! process that opened the file in between would run the same jobs. redb takes and releases locks of its own each time
//! a database is opened and closed. [`Watched`](crate::storage::file::watched::Watched) answers those calls itself, as long as this
//! lock is held.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::sync::Process;

// Not the one of `crate::sync`: redb calls this code while it holds locks of its own.
use std::sync::Mutex;

/// A locked file, with the redb backend that reads and writes it.
#[derive(Debug)]
pub(crate) struct FileLock {
    backend: Arc<FileBackend>,
    handle: File,
    /// The process that took the lock. A forked child shares the open file description, and must not unlock it.
    process: Process,
    holder: Mutex<Holder>,
}

/// Which event unlocks the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// The owner of the [`FileLock`]. No database is open on the file.
    Store,
    /// The close of this database. A live transaction can keep a database open for longer than the store.
    Database(u64),
    /// The owner of the [`FileLock`], as soon as this database is closed.
    StoreAfter(u64),
    /// Nothing: the file is unlocked.
    Nobody,
}

impl FileLock {
    /// Locks a file. Returns `None` if the file is open elsewhere.
    pub fn take(file: File) -> io::Result<Option<Arc<Self>>> {
        let handle = file.try_clone()?;
        let backend = FileBackend::new(file).map_err(io::Error::other)?;
        let lock =
            Self { backend: backend.into(), handle, process: Process::current(), holder: Mutex::new(Holder::Store) };
        Ok(lock.acquire()?.then(|| Arc::new(lock)))
    }

    fn acquire(&self) -> io::Result<bool> {
        let whole = || match self.backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
            Ok(taken) => Ok(taken),
            // This system has no file locks. redb opens the file in that case as well.
            Err(BackendError::Unsupported) => Ok(true),
            Err(BackendError::Io(error)) => Err(error),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        if !cfg!(target_os = "linux") {
            return whole();
        }
        // redb before version 4.3 locks a file on Linux with `flock`, and so do shell scripts.
        match self.handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(_)) => return whole(),
        }
        if whole()? {
            return Ok(true);
        }
        // Some file systems implement both kinds as one lock. There the first lock blocks the second.
        self.handle.unlock()?;
        whole()
    }

    /// The backend that reads and writes the file.
    pub fn backend(&self) -> Arc<dyn StorageBackend> {
        self.backend.clone()
    }

    /// The open file itself.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    fn holder(&self) -> std::sync::MutexGuard<'_, Holder> {
        self.holder.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Lets the close of this database unlock the file.
    pub fn give_to(&self, database: u64) {
        *self.holder() = Holder::Database(database);
    }

    /// Keeps the file locked when the database on it is closed.
    pub fn take_back(&self) {
        let mut holder = self.holder();
        if let Holder::Database(database) = *holder {
            *holder = Holder::StoreAfter(database);
        }
    }

    /// Whether no database is open on the file. A database that was dropped stays open while a transaction of it is alive.
    pub fn is_free(&self) -> bool {
        *self.holder() == Holder::Store
    }

    /// Notes that a database was closed, or could not be opened.
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

    /// Unlocks the file. If its database is still open, the close of that database does it instead.
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

    /// Dropping the handles would not be enough: read transactions of the application may keep them open.
    fn unlock(&self, holder: &mut Holder) -> io::Result<()> {
        *holder = Holder::Nobody;
        if !self.process.is_this() {
            return Ok(());
        }
        if cfg!(target_os = "linux") {
            // Fails if this lock was not taken.
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
    use crate::error::{Error, panics};
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
    fn the_file_stays_locked_while_its_database_is_opened_again() {
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
            let reopened = panics::catch(|| {
                for _ in 0..100 {
                    assert!(store.reopen().unwrap());
                }
            });
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
        // A write transaction keeps the first database open.
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
        // As redb before version 4.3 locks a file.
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
