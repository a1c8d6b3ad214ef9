//! A copy of the file, taken while it is being written: everything once, then again what was written
//! meanwhile, until so little is left that the writer can wait for it. It is then what a kill between two
//! commits would have left; opened and closed once, it is in order.
//!
//! No read transaction is held: the file may reuse its pages all the time.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, StorageBackend};

use super::catalog::Catalog;
use super::fault::is_full;
use super::file::open_file;
use super::queries::Reader;
use super::schema;
use super::store::{open_error, sync_directory_of};
use super::verify::{Verification, verify};
use super::watched::{BLOCK_BYTES, Watch};
use crate::error::Error;
use redb::ReadableDatabase;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// What may be left for the writer to wait for, in bytes: a few milliseconds.
const LAST_ROUND_BYTES_MAX: u64 = 4 << 20;

/// Rounds before the writer waits for whatever is left: with a disk that is read more slowly than it is
/// written they would never end.
const ROUNDS_MAX: usize = 16;

/// redb's page cache while the copy is looked at, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// What [`Millpond::backup`](crate::Millpond::backup) has written.
///
/// ```
/// # use millpond::*;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), millpond::BoxError> {
/// # let dir = tempfile::tempdir()?;
/// # let pond = Millpond::open(dir.path().join("app.redb"))?;
/// let Backup { path, bytes, verification, .. } = pond.backup(dir.path().join("monday.redb")).await?;
/// println!("{} has {bytes} bytes and {} jobs", path.display(), verification.jobs);
/// assert!(verification.is_ok());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Backup {
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// What it holds, and what in it does not agree: damage is copied as it is.
    pub verification: Verification,
}

/// A copy in the making. Dropped before its end it leaves nothing behind.
pub(crate) struct Copying {
    watch: Watch,
    from: Arc<dyn StorageBackend>,
    into: File,
    target: PathBuf,
    temporary: PathBuf,
    buffer: Vec<u8>,
}

impl Copying {
    /// Begins a copy of what is watched; `own` is the file itself, if it is one.
    pub fn begin(watch: &Watch, own: Option<&Path>, target: &Path) -> Result<Self, Error> {
        let refuse = |reason| Error::NotBackedUp { path: target.to_owned(), reason };
        let failed = |source| failed(target, source);
        if own.is_some_and(|own| is_same(own, target)) {
            return Err(refuse("it is the file itself"));
        }
        if fs::symlink_metadata(target).is_ok() {
            return Err(refuse("there is something of this name already: remove it or choose another name"));
        }
        let Some(name) = target.file_name() else { return Err(refuse("it is not the name of a file")) };
        let mut name = name.to_owned();
        name.push(".backing-up");
        let temporary = target.with_file_name(name);
        let from = watch.backend().ok_or(Error::Closed)?;
        if !watch.begin() {
            return Err(refuse("another backup is being taken"));
        }
        // A leftover of a backup that did not end.
        let leftover = fs::remove_file(&temporary);
        let into = match leftover {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().read(true).write(true).create_new(true).open(&temporary),
        };
        match into {
            Ok(into) => {
                let (watch, target) = (watch.clone(), target.to_owned());
                Ok(Self { watch, from, into, target, temporary, buffer: Vec::new() })
            }
            Err(error) => {
                watch.end();
                Err(failed(error))
            }
        }
    }

    /// Everything once, then what was written meanwhile, until little is left. The file is in use all the
    /// time.
    pub fn approach(&mut self) -> Result<(), Error> {
        let len = self.from.len().map_err(|error| self.failed(error))?;
        self.copy(0..len)?;
        for _ in 0..ROUNDS_MAX {
            let written = self.watch.take();
            self.copy_blocks(&written)?;
            if written.len() as u64 * BLOCK_BYTES <= LAST_ROUND_BYTES_MAX {
                break;
            }
        }
        self.into.sync_data().map_err(|error| self.failed(error))
    }

    /// What is left. Nobody may write meanwhile, and nobody may be in the middle of a commit.
    pub fn arrive(&mut self) -> Result<(), Error> {
        let written = self.watch.take();
        self.copy_blocks(&written)?;
        let len = self.from.len().map_err(|error| self.failed(error))?;
        self.into.set_len(len).map_err(|error| self.failed(error))
    }

    /// Opens the copy and closes it in order, has it on the disk, and gives it its name.
    pub fn finish(self) -> Result<Backup, Error> {
        self.into.sync_all().map_err(|error| self.failed(error))?;
        let verification = self.look()?;
        let bytes = self.into.metadata().map_err(|error| self.failed(error))?.len();
        self.into.sync_all().map_err(|error| self.failed(error))?;
        if fs::symlink_metadata(&self.target).is_ok() {
            let reason = "something of this name was made while it was being taken";
            return Err(Error::NotBackedUp { path: self.target.clone(), reason });
        }
        fs::rename(&self.temporary, &self.target).map_err(|error| self.failed(error))?;
        sync_directory_of(&self.target)?;
        Ok(Backup { path: self.target.clone(), bytes, verification })
    }

    fn look(&self) -> Result<Verification, Error> {
        let file = open_file(&self.temporary).map_err(|error| self.failed(error))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let opened = redb::backends::FileBackend::new(file).and_then(|file| builder.create_with_backend(file));
        let damaged = |error| open_error(error, &self.target, "back up to");
        let db = opened.map_err(damaged)?;
        let txn = db.begin_read().map_err(super::fault::Fault::from)?;
        let catalog = Catalog::default();
        schema::load(&txn, &catalog)?;
        let verification = verify(&Reader::new(txn), &catalog)?;
        db.close().map_err(damaged)?;
        Ok(verification)
    }

    fn copy_blocks(&mut self, blocks: &BTreeSet<u64>) -> Result<(), Error> {
        for &block in blocks {
            self.copy(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES)?;
        }
        Ok(())
    }

    /// Copies what there is of a range. The file may become shorter meanwhile: then it is not needed.
    fn copy(&mut self, range: Range<u64>) -> Result<(), Error> {
        let mut at = range.start;
        while at < range.end {
            let len = self.from.len().map_err(|error| self.failed(error))?;
            let to = range.end.min(len).min(at + CHUNK_BYTES);
            if to <= at {
                return Ok(());
            }
            self.buffer.resize((to - at) as usize, 0);
            match self.from.read(at, &mut self.buffer) {
                Ok(()) => {}
                Err(_) if self.from.len().is_ok_and(|len| len < to) => continue,
                Err(error) => return Err(self.failed(error)),
            }
            let written = self.into.seek(SeekFrom::Start(at)).and_then(|_| self.into.write_all(&self.buffer));
            written.map_err(|error| self.failed(error))?;
            at = to;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        failed(&self.target, source)
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.watch.end();
        // Gone already if it came to its end.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn failed(target: &Path, source: io::Error) -> Error {
    match is_full(&source) {
        true => Error::StorageFull,
        false => Error::Io { operation: "back up to", path: target.to_owned(), source },
    }
}

fn is_same(own: &Path, target: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    own == target || real(own).zip(real(target)).is_some_and(|(own, target)| own == target)
}
