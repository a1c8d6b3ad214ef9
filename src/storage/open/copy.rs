//! A copy of the file that is made while the file is written: first the whole file, then again what was written
//! meanwhile, until so little is left that the writer can wait for it. The copy is then what a kill between two commits
//! would have left, so it is opened and closed once. If the file has an identity, the copy is marked meanwhile.
//!
//! No read transaction is held, so redb can reuse free pages meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, StorageBackend};

use crate::error::Error;
use crate::storage::file::new_file::{BACKING_UP, Published, Unpublished, sync_directory_of};
use crate::storage::file::open_file::OpenFile;
use crate::storage::file::opening::{failed, open_error};
use crate::storage::file::watched::{BLOCK_BYTES, Watch};
use crate::storage::life::verifier::Verification;
use crate::storage::open::identity::mark_copy;
use crate::storage::open::schema;
use crate::storage::repair::verify::verify;
use crate::storage::rows::catalog::Catalog;
use crate::storage::rows::fault::Fault;
use crate::storage::rows::reader::Reader;
use redb::ReadableDatabase;

/// Bytes read at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// The most bytes that are copied while the writer waits: a few milliseconds.
const LAST_ROUND_BYTES_MAX: u64 = 4 << 20;

/// The most rounds before the writer waits for the rest: if the disk is read more slowly than it is written, the rounds
/// would never end.
const ROUNDS_MAX: usize = 16;

/// The size of redb's page cache while the copy is verified, in bytes.
const CACHE_BYTES: usize = 8 << 20;

/// What [`Millpond::backup`](crate::Millpond::backup) has written.
///
/// ```
/// # doc_prelude::block_on(async { use doc_prelude::*;
/// # let dir = tempfile::tempdir()?;
/// # let pond = Millpond::open(dir.path().join("app.redb"))?;
/// let Backup { path, bytes, verification, .. } = pond.backup(dir.path().join("monday.redb")).await?;
/// println!("{} has {bytes} bytes and {} jobs", path.display(), verification.jobs);
/// assert!(verification.is_ok());
/// # Ok(()) });
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

/// A copy that is being made. If it is dropped before its end, it leaves no file.
pub(crate) struct Copying {
    watch: Watch,
    from: Arc<dyn StorageBackend>,
    into: Unpublished,
    target: PathBuf,
    /// The metadata of the file that is copied. `None` if the queue is not in a file.
    original: Option<fs::Metadata>,
    buffer: Vec<u8>,
}

impl Copying {
    /// Begins a copy of what is watched; `own` is the file itself, if it is one.
    pub(in crate::storage) fn begin(watch: &Watch, own: Option<&OpenFile>, target: &Path) -> Result<Self, Error> {
        let refuse = |reason| Error::NotBackedUp { path: target.to_owned(), reason };
        if own.is_some_and(|own| is_same(&own.path, target)) {
            return Err(refuse("it is the file itself"));
        }
        if fs::symlink_metadata(target).is_ok() {
            return Err(refuse("there is something of this name already: remove it or choose another name"));
        }
        if target.file_name().is_none() {
            return Err(refuse("it is not the name of a file"));
        }
        let from = watch.backend().ok_or(Error::Closed)?;
        if !watch.begin() {
            return Err(refuse("another backup is being taken"));
        }
        let original = own.and_then(OpenFile::metadata);
        // Only the owner can read the copy until it gets the permissions of the original.
        match Unpublished::beside(target, BACKING_UP, original.is_some()) {
            Ok(into) => {
                let (watch, target) = (watch.clone(), target.to_owned());
                Ok(Self { watch, from, into, target, original, buffer: Vec::new() })
            }
            Err(error) => {
                watch.end();
                Err(not_copied(target, error))
            }
        }
    }

    /// Copies everything once, then what was written meanwhile, until little is left. The file is in use all the time.
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
        self.into.lock.handle().sync_data().map_err(|error| self.failed(error))
    }

    /// Copies the rest. Nothing may write meanwhile, and no commit may be under way.
    pub fn arrive(&mut self) -> Result<(), Error> {
        let written = self.watch.take();
        self.copy_blocks(&written)?;
        let len = self.from.len().map_err(|error| self.failed(error))?;
        self.into.lock.handle().set_len(len).map_err(|error| self.failed(error))
    }

    /// Opens the copy and closes it in order, syncs it, and gives it its name.
    pub fn finish(mut self) -> Result<Backup, Error> {
        let file = self.into.lock.handle();
        file.sync_all().map_err(|error| self.failed(error))?;
        let verification = self.look()?;
        if let Some(original) = &self.original {
            protect_as(file, original).map_err(|error| self.failed(error))?;
        }
        let bytes = file.metadata().map_err(|error| self.failed(error))?.len();
        file.sync_all().map_err(|error| self.failed(error))?;
        let refuse = |reason| Err(Error::NotBackedUp { path: self.target.clone(), reason });
        match self.into.publish(&self.target).map_err(|error| not_copied(&self.target, error))? {
            Published::Done => {}
            Published::Taken => return refuse("something of this name was made while it was being taken"),
            Published::Lost => return refuse("its temporary file was removed while it was being taken"),
        }
        sync_directory_of(&self.target).map_err(|error| self.failed(error))?;
        Ok(Backup { path: self.target.clone(), bytes, verification })
    }

    fn look(&self) -> Result<Verification, Error> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let watch = Watch::default();
        let opened = builder.create_with_backend(watch.over_file(&self.into.lock));
        let damaged = |error| open_error(error, &self.target, "back up to");
        let db = opened.map_err(damaged)?;
        let txn = db.begin_read().map_err(Fault::from)?;
        // Fails where opening the copy would fail.
        schema::load(&txn, &Catalog::default())?;
        let verification = verify(&Reader::new(txn))?;
        let txn = db.begin_write().map_err(Fault::from)?;
        if mark_copy(&txn)? {
            txn.commit().map_err(|error| Fault::Redb(error.into()))?;
        } else {
            txn.abort().map_err(Fault::from)?;
        }
        db.close().map_err(damaged)?;
        Ok(verification)
    }

    fn copy_blocks(&mut self, blocks: &BTreeSet<u64>) -> Result<(), Error> {
        for &block in blocks {
            self.copy(block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES)?;
        }
        Ok(())
    }

    /// Copies a range as far as it exists. The file can become shorter meanwhile: then the rest is not needed.
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
            let mut into = self.into.lock.handle();
            let written = into.seek(SeekFrom::Start(at)).and_then(|_| into.write_all(&self.buffer));
            written.map_err(|error| self.failed(error))?;
            at = to;
        }
        Ok(())
    }

    fn failed(&self, source: io::Error) -> Error {
        not_copied(&self.target, source)
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.watch.end();
    }
}

fn not_copied(target: &Path, source: io::Error) -> Error {
    failed("back up to", target, source)
}

/// Gives a file the permissions of another, and its owner and group as far as this process is allowed to. If the group
/// cannot be set, the group gets no permissions, because they were meant for the group of the original.
#[cfg(unix)]
fn protect_as(file: &fs::File, original: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let mut mode = original.mode() & 0o777;
    let own = file.metadata()?;
    if own.gid() != original.gid() && fchown(file, None, Some(original.gid())).is_err() {
        mode &= !0o070;
    }
    if own.uid() != original.uid() {
        // Only a superuser may do this. Otherwise the owner is the user of this process, who could read the original.
        let _ = fchown(file, Some(original.uid()), None);
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn protect_as(_: &fs::File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

fn is_same(own: &Path, target: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    own == target || real(own).zip(real(target)).is_some_and(|(own, target)| own == target)
}
