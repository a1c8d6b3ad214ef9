//! Keeps compiled code on the disk. Loading it takes 0.06 ms, compiling it takes from 24 ms to 12 s.
//!
//! The files hold native code, which can do everything that the process can. So the directory and each file in it must
//! belong to the user that the process runs as, and must not be writable by others ([`private`]). Each file has a
//! checksum, and its name is a hash of the component, the compiler's settings and this crate's version.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::own_code;
use private::Directory;

const CHECKSUM_BYTES: usize = 32;

/// The place of one component's compiled code, whether the file exists or not.
pub(super) struct Cached {
    directory: Directory,
    name: String,
    /// The full path, for log messages.
    path: PathBuf,
}

impl Cached {
    /// Returns `None` if the directory is not private to this user, or cannot be created.
    pub fn at(directory: &Path, engine: &Engine, component: &[u8]) -> Option<Self> {
        let name = name(engine, component);
        let path = directory.join(&name);
        match Directory::open(directory) {
            Ok(directory) => Some(Self { directory, name, path }),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "compiled plugins are not kept in this directory");
                None
            }
        }
    }

    /// Loads the code, if the file exists, is undamaged, and belongs to this user.
    pub fn load(&self, engine: &Engine) -> Option<Component> {
        let file = match self.directory.read(&self.name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(file = %self.path.display(), %error, "a compiled plugin cannot be loaded: it is compiled again");
                return None;
            }
        };
        let (checksum, code) = file.split_at_checked(CHECKSUM_BYTES)?;
        if Sha256::digest(code).as_slice() != checksum {
            tracing::warn!(file = %self.path.display(), "a compiled plugin is damaged: it is compiled again");
            return None;
        }
        own_code::load(engine, code).ok()
    }

    /// Writes the code to the file. A failure is logged only, because the plugin can run without the file.
    pub fn keep(&self, component: &Component) {
        let kept = component.serialize().map_err(io::Error::other);
        let kept = kept.and_then(|code| self.directory.write(&self.name, &[&Sha256::digest(&code), &code]));
        if let Err(error) = kept {
            tracing::warn!(file = %self.path.display(), %error, "a compiled plugin could not be written");
        }
    }
}

/// A file name from a hash of everything that the compiled code depends on: the component, the compiler with its
/// settings and this machine, and the version of this crate.
fn name(engine: &Engine, component: &[u8]) -> String {
    let mut sum = Summed(Sha256::new());
    sum.0.update(Sha256::digest(component));
    engine.precompile_compatibility_hash().hash(&mut sum);
    sum.0.update(env!("CARGO_PKG_VERSION"));
    format!("{:x}.compiled", sum.0.finalize())
}

/// Lets a type that implements `Hash` be hashed with SHA-256. `finish` is not used.
struct Summed(Sha256);

impl Hasher for Summed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// A directory in which only this user can write. It is checked after it was opened, and files are opened relative to
/// it, so that replacing the directory or a part of its path has no effect.
#[cfg(unix)]
mod private {
    use std::fs::{DirBuilder, File};
    use std::io::{self, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

    pub struct Directory(OwnedFd);

    /// The permissions of everybody but the owner. The permissions of an access control list show as the group's.
    const OTHERS: Mode = Mode::RWXG.union(Mode::RWXO);

    /// The permissions to write of everybody but the owner.
    const OTHERS_WRITE: Mode = Mode::WGRP.union(Mode::WOTH);

    impl Directory {
        /// Opens the directory, and creates it if it does not exist.
        pub fn open(path: &Path) -> io::Result<Self> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
                rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP | rustix::io::Errno::MLINK => {
                    refused("it is a symbolic link or not a directory".to_owned())
                }
                error => error.into(),
            })?;
            let found = rustix::fs::fstat(&directory)?;
            check_owner(&found)?;
            if Mode::from_raw_mode(found.st_mode).intersects(OTHERS) {
                return Err(refused("others than its owner have permissions there: set its mode to 0700".to_owned()));
            }
            Ok(Self(directory))
        }

        pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
            // `NONBLOCK`: opening a pipe must not wait for its other end.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
            let found = rustix::fs::fstat(&file)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
                return Err(refused("it is not a regular file".to_owned()));
            }
            check_owner(&found)?;
            if Mode::from_raw_mode(found.st_mode).intersects(OTHERS_WRITE) {
                return Err(refused("others than its owner can write it".to_owned()));
            }
            let mut bytes = Vec::new();
            File::from(file).read_to_end(&mut bytes)?;
            Ok(bytes)
        }

        /// Writes a file under a temporary name and renames it, so that no reader finds half a file. Replaces
        /// whatever has the name.
        pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
            let unfinished = format!("{name}-{:016x}", fastrand::u64(..));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.0, &unfinished, flags, Mode::RUSR | Mode::WUSR)?;
            let mut file = File::from(file);
            let written = parts.iter().try_for_each(|part| file.write_all(part));
            let kept = written.and_then(|()| Ok(rustix::fs::renameat(&self.0, &unfinished, &self.0, name)?));
            kept.inspect_err(|_| {
                let _ = rustix::fs::unlinkat(&self.0, &unfinished, AtFlags::empty());
            })
        }
    }

    fn check_owner(found: &Stat) -> io::Result<()> {
        let (owner, own) = (found.st_uid, rustix::process::geteuid().as_raw());
        match owner == own {
            true => Ok(()),
            false => Err(refused(format!("it belongs to user {owner}, and this process runs as user {own}"))),
        }
    }

    fn refused(why: String) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, why)
    }
}

/// On systems other than Unix nothing is kept, because the standard library does not tell who can write to a
/// directory.
#[cfg(not(unix))]
mod private {
    use std::io;
    use std::path::Path;

    pub enum Directory {}

    impl Directory {
        pub fn open(_: &Path) -> io::Result<Self> {
            let why = "on this system it cannot be checked whether others can write there";
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        }

        pub fn read(&self, _: &str) -> io::Result<Vec<u8>> {
            match *self {}
        }

        pub fn write(&self, _: &str, _: &[&[u8]]) -> io::Result<()> {
            match *self {}
        }
    }
}
