//! Regular files: how one is opened without waiting, and which one an open file is.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The identity of a file, independent of its name. On a system that does not provide one, all files have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Identity(Option<(u64, u64)>);

impl Identity {
    #[cfg(unix)]
    pub(in crate::storage) fn of(file: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(Some((file.dev(), file.ino())))
    }

    #[cfg(not(unix))]
    pub(in crate::storage) fn of(_: &fs::Metadata) -> Self {
        Self(None)
    }
}

/// Opens a regular file to read it, or to read and write it. Anything else is an error, because opening a pipe can wait
/// forever, and opening a device can have side effects.
pub(crate) fn open_regular(path: &Path, to_write: bool) -> io::Result<File> {
    is_regular(&fs::metadata(path)?)?;
    // Something else can be at the path by now, so the open file is checked as well.
    let file = without_waiting(File::options().read(true).write(to_write)).open(path)?;
    is_regular(&file.metadata()?)?;
    Ok(file)
}

#[cfg(unix)]
fn without_waiting(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    // `O_NONBLOCK` has no effect on a regular file.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
}

#[cfg(not(unix))]
fn without_waiting(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

/// Returns an error that names the kind of the file if it is not a regular one.
pub(in crate::storage) fn is_regular(found: &fs::Metadata) -> io::Result<()> {
    match found.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        kind => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a file", named(kind)))),
    }
}

#[cfg(unix)]
fn named(kind: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    }
}

#[cfg(not(unix))]
fn named(_: fs::FileType) -> &'static str {
    "something else"
}
