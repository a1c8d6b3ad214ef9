//! What the file is to the operating system: how it is opened, which one it is, whether it still has a
//! name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use super::store::{Opening, check_magic_of, io, open_error};
use super::watched::Watch;
use crate::error::Error;
use crate::sync::{Mutex, MutexGuard};

/// Which file it is, whatever its name. Not known on every system: nothing then differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    fn of(file: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((file.dev(), file.ino())))
    }

    #[cfg(not(unix))]
    fn of(_: &fs::Metadata) -> Self {
        Self(None)
    }
}

/// Whether the open file has no name any more: what is written to it goes when it is closed.
#[cfg(unix)]
fn is_deleted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|file| file.nlink() == 0)
}

#[cfg(not(unix))]
fn is_deleted(_: &File) -> bool {
    false
}

/// A file that is open, and how it is opened again.
pub(super) struct OpenFile {
    pub path: PathBuf,
    pub opening: Opening,
    identity: Identity,
    watch: Watch,
    /// To ask whether it still has a name. The lock belongs to the database and ends with it.
    handle: Mutex<Option<File>>,
}

impl OpenFile {
    pub fn open(path: PathBuf, opening: Opening, watch: &Watch) -> Result<(Database, Self), Error> {
        let (file, handle, identity) = open_to_write(&path)?;
        let db = open_database(file, &path, opening, watch)?;
        // One that never had a name of its own misses none.
        let handle = Mutex::new((!is_deleted(&handle)).then_some(handle));
        Ok((db, Self { path, opening, identity, watch: watch.clone(), handle }))
    }

    pub fn open_again(&self) -> Result<Database, Error> {
        self.let_go();
        let (file, handle, identity) = open_to_write(&self.path)?;
        if identity != self.identity {
            return Err(self.replaced());
        }
        *self.handle() = Some(handle);
        open_database(file, &self.path, self.opening.again(), &self.watch)
    }

    /// The file once more, to be read only.
    pub fn open_to_read(&self) -> Result<Arc<dyn StorageBackend>, Error> {
        self.let_go();
        let (file, handle, identity) = open_to_write(&self.path)?;
        if identity != self.identity {
            return Err(self.replaced());
        }
        *self.handle() = Some(handle);
        let file = FileBackend::new(file).map_err(|error| open_error(error, &self.path, "open"))?;
        Ok(Arc::new(file))
    }

    pub fn is_there(&self) -> Result<(), Error> {
        match &*self.handle() {
            Some(handle) if is_deleted(handle) => {
                let source = std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    "it was deleted or replaced while it was open, and what is written to it goes when it is closed",
                );
                Err(io("find", &self.path, source))
            }
            _ => Ok(()),
        }
    }

    pub fn is_in_its_place(&self) -> Result<(), Error> {
        let found = fs::metadata(&self.path).map_err(|source| io("find", &self.path, source))?;
        if Identity::of(&found) == self.identity { Ok(()) } else { Err(self.replaced()) }
    }

    fn replaced(&self) -> Error {
        io("find", &self.path, std::io::Error::other("another file has taken its place, and is left alone"))
    }

    fn handle(&self) -> MutexGuard<'_, Option<File>> {
        self.handle.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn let_go(&self) {
        *self.handle() = None;
    }
}

/// The file, a handle of it to ask what has become of it, and which one it is.
fn open_to_write(path: &Path) -> Result<(File, File, Identity), Error> {
    let failed = |source| io("open", path, source);
    let mut file = open_file(path).map_err(failed)?;
    check_magic_of(&mut file, path)?;
    let identity = Identity::of(&file.metadata().map_err(failed)?);
    let handle = file.try_clone().map_err(failed)?;
    Ok((file, handle, identity))
}

pub(super) fn open_file(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn open_database(file: File, path: &Path, opening: Opening, watch: &Watch) -> Result<Database, Error> {
    let opened = FileBackend::new(file).and_then(|file| opening.builder().create_with_backend(watch.over(file)));
    opened.map_err(|error| open_error(error, path, "open"))
}
