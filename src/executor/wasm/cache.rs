//! Compiled code on the disk: 0.06 ms to load, where compiling takes from 24 ms to 12 s.
//!
//! What lies there is native code, and whoever can write it can do what the process can. So the directory is the
//! owner's alone, each file bears its own checksum, and its name says what it was made of and by which build.

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::own_code;

const CHECKSUM_BYTES: usize = 32;

/// Where one component's code is, or is to be.
pub(super) struct Cached {
    file: PathBuf,
}

impl Cached {
    /// Nothing if the directory cannot be trusted, or cannot be made.
    pub fn at(directory: &Path, engine: &Engine, component: &[u8]) -> Option<Self> {
        match make_private(directory) {
            Ok(()) => Some(Self { file: directory.join(name(engine, component)) }),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "compiled plugins are not kept there");
                None
            }
        }
    }

    /// The code, if it is there and whole.
    pub fn load(&self, engine: &Engine) -> Option<Component> {
        let file = fs::read(&self.file).ok()?;
        let (checksum, code) = file.split_at_checked(CHECKSUM_BYTES)?;
        if Sha256::digest(code).as_slice() != checksum {
            tracing::warn!(file = %self.file.display(), "a compiled plugin is damaged: it is compiled again");
            return None;
        }
        own_code::load(engine, code).ok()
    }

    /// Keeps it for the next time. That it cannot be kept is no reason not to run.
    pub fn keep(&self, component: &Component) {
        let kept = component.serialize().map_err(io::Error::other).and_then(|code| self.write(&code));
        if let Err(error) = kept {
            tracing::warn!(file = %self.file.display(), %error, "a compiled plugin could not be kept");
        }
    }

    /// Under a name of its own first: nobody ever reads half a file.
    fn write(&self, code: &[u8]) -> io::Result<()> {
        let unfinished = self.file.with_extension(format!("{:016x}", fastrand::u64(..)));
        let mut file = fs::File::create_new(&unfinished)?;
        let written = file.write_all(&Sha256::digest(code)).and_then(|()| file.write_all(code));
        let kept = written.and_then(|()| fs::rename(&unfinished, &self.file));
        kept.inspect_err(|_| drop(fs::remove_file(&unfinished)))
    }
}

/// Of what the code depends on: the component, the compiler with its settings and this machine, this crate.
fn name(engine: &Engine, component: &[u8]) -> String {
    let mut sum = Summed(Sha256::new());
    sum.0.update(Sha256::digest(component));
    engine.precompile_compatibility_hash().hash(&mut sum);
    sum.0.update(env!("CARGO_PKG_VERSION"));
    format!("{:x}.compiled", sum.0.finalize())
}

struct Summed(Sha256);

impl Hasher for Summed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(unix)]
fn make_private(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if !directory.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    // What others may write there would run with this process's rights.
    if fs::symlink_metadata(directory)?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "others than its owner have rights there: make it 0700",
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)
}
