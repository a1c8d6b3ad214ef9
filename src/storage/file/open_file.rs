//! The open file of a queue: how it is locked, opened and opened again, and whether it still has its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, StorageBackend};

use crate::error::Error;
use crate::storage::file::lock::FileLock;
use crate::storage::file::new_file::remove_second_name;
use crate::storage::file::opening::{Opening, check_magic, failed, open_error};
use crate::storage::file::regular::{Identity, is_regular, open_regular};
use crate::storage::file::watched::Watch;
use crate::sync::{Mutex, MutexGuard};

/// Whether the open file no longer has a name. If so, everything written to it is lost when it is closed.
#[cfg(unix)]
fn is_deleted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|file| file.nlink() == 0)
}

#[cfg(not(unix))]
fn is_deleted(_: &File) -> bool {
    false
}

/// What was found at a path.
pub(in crate::storage) enum Found {
    /// A file, which is locked now.
    Locked(Arc<FileLock>),
    /// A file that was replaced by another one before it was locked.
    Replaced,
    Nothing,
}

/// Opens the file at a path and locks it, before anything is read from it.
pub(in crate::storage) fn lock(path: &Path) -> Result<Found, Error> {
    match fs::metadata(path) {
        // Before it is opened, because a process at the other end of a pipe would notice the opening.
        Ok(found) => is_regular(&found).map_err(|error| failed("open", path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed("look for", path, error)),
    }
    let file = match open_regular(path, true) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed("open", path, error)),
    };
    let opened = file.metadata().map_err(|error| failed("open", path, error))?;
    if opened.len() == 0 {
        // redb would silently create a new database in an empty file.
        return Err(Error::EmptyFile { path: path.to_owned() });
    }
    let lock = FileLock::take(file).map_err(|error| failed("lock", path, error))?;
    let Some(lock) = lock else { return Err(Error::AlreadyOpen { path: path.to_owned() }) };
    match fs::metadata(path) {
        Ok(found) if Identity::of(&found) == Identity::of(&opened) => Ok(Found::Locked(lock)),
        Ok(_) => Ok(Found::Replaced),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Replaced),
        Err(error) => Err(failed("look for", path, error)),
    }
}

/// A file that is open, and how it is opened again.
pub(in crate::storage) struct OpenFile {
    pub path: PathBuf,
    pub opening: Opening,
    identity: Identity,
    watch: Watch,
    /// Whether the file had a name when it was opened. A file that was opened without one cannot lose it.
    had_a_name: bool,
    /// `None` after the close.
    lock: Mutex<Option<Arc<FileLock>>>,
}

impl OpenFile {
    /// Opens the database in a locked file.
    pub fn open(
        path: PathBuf,
        opening: Opening,
        lock: Arc<FileLock>,
        watch: &Watch,
    ) -> Result<(Database, Self), Error> {
        let opened = lock.handle().metadata().map_err(|error| failed("open", &path, error))?;
        remove_second_name(&path, &opened);
        let identity = Identity::of(&opened);
        let db = open_database(&lock, &path, opening, watch)?;
        let had_a_name = !is_deleted(lock.handle());
        let lock = Mutex::new(Some(lock));
        Ok((db, Self { path, opening, identity, watch: watch.clone(), had_a_name, lock }))
    }

    /// Keeps the file locked while its database is closed and opened again. Call this before the database is dropped.
    pub fn keep_locked(&self) {
        if let Some(lock) = &*self.lock() {
            lock.take_back();
        }
    }

    /// The lock, if no database is open on the file.
    fn free_lock(&self) -> Result<Arc<FileLock>, Error> {
        let lock = self.lock().clone().ok_or(Error::Closed)?;
        // A live transaction keeps the previous database open.
        if lock.is_free() { Ok(lock) } else { Err(Error::AlreadyOpen { path: self.path.clone() }) }
    }

    /// Opens the database again, in the same open file.
    pub fn open_again(&self) -> Result<Database, Error> {
        let lock = self.free_lock()?;
        check_magic(&lock, &self.path)?;
        open_database(&lock, &self.path, self.opening.again(), &self.watch)
    }

    /// Another backend for the open file, for a database that only reads. The file stays locked.
    pub fn open_to_read(&self) -> Result<Arc<dyn StorageBackend>, Error> {
        let lock = self.free_lock()?;
        Ok(Arc::new(self.watch.over_file(&lock)))
    }

    pub fn is_there(&self) -> Result<(), Error> {
        match &*self.lock() {
            Some(lock) if self.had_a_name && is_deleted(lock.handle()) => {
                let source = io::Error::new(
                    io::ErrorKind::NotFound,
                    "it was deleted or replaced while it was open, and what is written to it goes when it is closed",
                );
                Err(failed("find", &self.path, source))
            }
            _ => Ok(()),
        }
    }

    pub fn is_in_its_place(&self) -> Result<(), Error> {
        let found = fs::metadata(&self.path).map_err(|source| failed("find", &self.path, source))?;
        if Identity::of(&found) == self.identity { Ok(()) } else { Err(self.replaced()) }
    }

    fn replaced(&self) -> Error {
        failed("find", &self.path, io::Error::other("another file is at its path now, and is not touched"))
    }

    /// The size in bytes, or 0 if the system returns an error.
    pub fn len(&self) -> u64 {
        self.metadata().map_or(0, |file| file.len())
    }

    /// The metadata of the open file, even if another file is at its path by now.
    pub fn metadata(&self) -> Option<fs::Metadata> {
        self.lock().as_ref().and_then(|lock| lock.handle().metadata().ok())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<FileLock>>> {
        self.lock.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Releases the lock of the file. Call this after the database was closed.
    pub fn release(&self) {
        if let Some(lock) = self.lock().take() {
            lock.release();
        }
    }
}

fn open_database(lock: &Arc<FileLock>, path: &Path, opening: Opening, watch: &Watch) -> Result<Database, Error> {
    let file = watch.over_file(lock);
    let number = file.database();
    let opened = opening.builder().create_with_backend(file);
    let database = opened.map_err(|error| open_error(error, path, "open"))?;
    lock.give_to(number);
    Ok(database)
}
