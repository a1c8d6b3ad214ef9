//! Creates files. A new file is written under a temporary name and then gets its own name. It never replaces an existing
//! file.

use crate::storage::file::lock::FileLock;
use crate::storage::file::regular::{Identity, open_regular};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The purpose of a temporary file, as it appears in its name.
pub(in crate::storage) const CREATING: &str = "creating";
pub(in crate::storage) const BACKING_UP: &str = "backing-up";

/// How often creating a temporary file is tried. A try fails only if another process has just removed the file.
const TRIES: usize = 100;

/// A file that is being written under a temporary name, `<file>.<what>-<16 hexadecimal digits>`. The file is locked,
/// which tells it from a leftover. Dropping it before it is published removes the file.
pub(in crate::storage) struct Unpublished {
    path: PathBuf,
    pub lock: Arc<FileLock>,
    is_published: bool,
}

/// The result of giving a file its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Published {
    Done,
    /// The name is taken. The existing file was not changed.
    Taken,
    /// The temporary name is gone: another process took the file for a leftover before it was locked.
    Lost,
}

impl Unpublished {
    /// Creates a temporary file beside `target`, and removes leftovers of earlier ones. Only the owner can read and
    /// write a `private` one.
    pub fn beside(target: &Path, what: &str, private: bool) -> io::Result<Self> {
        remove_leftovers(target, what);
        let mut last = io::Error::other("another program removes each temporary file at once");
        for _ in 0..TRIES {
            let path = target.with_file_name(temporary_name(target, what)?);
            let file = match new(&path, private) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match FileLock::take(file) {
                Ok(Some(lock)) => return Ok(Self { path, lock, is_published: false }),
                // Another process checks whether it is a leftover.
                Ok(None) => drop(fs::remove_file(&path)),
                Err(error) => {
                    drop(fs::remove_file(&path));
                    return Err(error);
                }
            }
        }
        Err(last)
    }

    /// Gives the file its name, unless the name is taken.
    pub fn publish(&mut self, target: &Path) -> io::Result<Published> {
        match publish(&self.path, target, |from, to| fs::hard_link(from, to)) {
            Ok(true) => {
                self.is_published = true;
                Ok(Published::Done)
            }
            Ok(false) => Ok(Published::Taken),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(&self.path).is_err() => {
                Ok(Published::Lost)
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        if !self.is_published {
            // On a full disk even a small file takes up space that others need.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives a file its name. Returns false if the name is taken. Neither of the two ways replaces an existing file, which a
/// rename alone would do.
fn publish(from: &Path, to: &Path, link: impl FnOnce(&Path, &Path) -> io::Result<()>) -> io::Result<bool> {
    match link(from, to) {
        Ok(()) => {
            // A second name that stays is harmless: it is removed as a leftover when the file is not open.
            if let Err(error) = fs::remove_file(from) {
                tracing::warn!(path = %from.display(), %error, "a temporary name could not be removed");
            }
            Ok(true)
        }
        Err(error) => match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(false),
            io::ErrorKind::NotFound | io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Err(error),
            // The file system has no hard links, or does not allow them. An empty file claims the name, because
            // creating it fails if the name is taken, and is replaced at once. An opener that comes in between gets
            // `EmptyFile`, and so do all openers if the process is killed in between.
            _ => match File::create_new(to) {
                Ok(_claim) => {
                    let renamed = fs::rename(from, to);
                    renamed.inspect_err(|_| drop(fs::remove_file(to))).map(|()| true)
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            },
        },
    }
}

#[cfg(unix)]
fn new(path: &Path, private: bool) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    if private {
        options.mode(0o600);
    }
    options.read(true).write(true).create_new(true).open(path)
}

#[cfg(not(unix))]
fn new(path: &Path, _: bool) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).open(path)
}

fn prefix(target: &Path, what: &str) -> Option<OsString> {
    let mut name = target.file_name()?.to_owned();
    name.push(".");
    name.push(what);
    Some(name)
}

fn temporary_name(target: &Path, what: &str) -> io::Result<OsString> {
    let not_a_name = || io::Error::new(io::ErrorKind::InvalidInput, "it is not the name of a file");
    let mut name = prefix(target, what).ok_or_else(not_a_name)?;
    name.push(format!("-{:016x}", fastrand::u64(..)));
    Ok(name)
}

/// Whether this is a temporary name that Millpond gives. Earlier versions used the prefix alone.
fn is_temporary(name: &OsStr, prefix: &OsStr) -> bool {
    let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
    rest.is_some_and(|rest| match rest {
        [] => true,
        [b'-', digits @ ..] => digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    })
}

/// Removes temporary files of processes that died before they published them. A locked file is still being written. In
/// a directory that cannot be listed the leftovers stay.
fn remove_leftovers(target: &Path, what: &str) {
    let Some(prefix) = prefix(target, what) else { return };
    let Ok(entries) = fs::read_dir(directory_of(target)) else { return };
    for entry in entries.flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file
            && is_temporary(&entry.file_name(), &prefix)
            && let Ok(file) = open_regular(&entry.path(), true)
            && let Ok(Some(_lock)) = FileLock::take(file)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the temporary name of a published file, which a kill right after its publication leaves. A deleted file is
/// recognised by having no name, so this one must not stay. The caller has locked the file.
#[cfg(unix)]
pub(in crate::storage) fn remove_second_name(path: &Path, file: &fs::Metadata) {
    use std::os::unix::fs::MetadataExt;
    if file.nlink() < 2 {
        return;
    }
    // The temporary name is beside the file, not beside a symbolic link to it.
    let Ok(path) = fs::canonicalize(path) else { return };
    let prefixes: Vec<_> = [CREATING, BACKING_UP].into_iter().filter_map(|what| prefix(&path, what)).collect();
    let Ok(entries) = fs::read_dir(directory_of(&path)) else { return };
    for entry in entries.flatten() {
        let is_same = |found: fs::Metadata| Identity::of(&found) == Identity::of(file);
        if prefixes.iter().any(|prefix| is_temporary(&entry.file_name(), prefix))
            && fs::symlink_metadata(entry.path()).is_ok_and(is_same)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The number of names is not known on this system.
#[cfg(not(unix))]
pub(in crate::storage) fn remove_second_name(_: &Path, _: &fs::Metadata) {}

pub(in crate::storage) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new name durable.
#[cfg(unix)]
pub(in crate::storage) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// Directories cannot be opened on this system.
#[cfg(not(unix))]
pub(in crate::storage) fn sync_directory_of(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The path at which a file of this name is created: symbolic links are followed, even if their target does not exist yet.
pub(in crate::storage) fn place_of(path: &Path) -> io::Result<PathBuf> {
    /// The number of links that Linux follows.
    const LINKS_MAX: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&path) {
            Ok(target) => path = directory_of(&path).join(target),
            // The path is not a link, or does not exist.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many symbolic links in a row, perhaps in a circle"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(unpublished: &Unpublished, text: &str) {
        use std::io::Write;
        unpublished.lock.handle().write_all(text.as_bytes()).unwrap();
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn of_two_files_published_under_one_name_the_second_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let mut first = Unpublished::beside(&target, "creating", false).unwrap();
        let mut second = Unpublished::beside(&target, "creating", false).unwrap();
        write(&first, "first");
        write(&second, "second");
        assert_eq!(names(directory.path()).len(), 2, "each has a name of its own");
        assert_eq!(second.publish(&target).unwrap(), Published::Done);
        assert_eq!(first.publish(&target).unwrap(), Published::Taken);
        drop(first);
        assert_eq!(fs::read(&target).unwrap(), b"second");
        assert_eq!(names(directory.path()), ["file"]);
        // The file was locked before it got its name, and still is.
        let opened = open_regular(&target, true).unwrap();
        assert!(FileLock::take(opened).unwrap().is_none());
        drop(second);
        assert!(FileLock::take(open_regular(&target, true).unwrap()).unwrap().is_some());
    }

    #[test]
    fn without_hard_links_publishing_replaces_nothing_either() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        fs::write(&from, "from").unwrap();
        assert!(publish(&from, &to, no_links).unwrap());
        assert_eq!((fs::read(&to).unwrap(), from.exists()), (b"from".to_vec(), false));
        fs::write(&from, "later").unwrap();
        assert!(!publish(&from, &to, no_links).unwrap());
        assert_eq!((fs::read(&to).unwrap(), from.exists()), (b"from".to_vec(), true));
        // A failure after the claim leaves no empty file behind.
        let free = directory.path().join("free");
        let removed = |from: &Path, _: &Path| {
            fs::remove_file(from).unwrap();
            Err(io::ErrorKind::Unsupported.into())
        };
        publish(&from, &free, removed).unwrap_err();
        assert!(!free.exists());
    }

    #[test]
    fn leftovers_are_removed_and_files_being_written_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let target = at("file");
        let alive = Unpublished::beside(&target, "creating", false).unwrap();
        for leftover in ["file.creating", "file.creating-0123456789abcdef"] {
            fs::write(at(leftover), "half a file").unwrap();
        }
        let foreign = ["file.creating-notes", "file.creating-0123456789abcdeg", "file.creatings", "other.creating"];
        foreign.iter().for_each(|name| fs::write(at(name), "somebody's").unwrap());
        let next = Unpublished::beside(&target, "creating", false).unwrap();
        let left = names(directory.path());
        assert_eq!(left.len(), foreign.len() + 2, "{left:?}");
        assert!(alive.path.exists() && foreign.iter().all(|name| at(name).exists()), "{left:?}");
        drop((alive, next));
        assert_eq!(names(directory.path()).len(), foreign.len());
    }

    #[test]
    fn the_temporary_name_of_a_published_file_is_removed_when_the_file_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "published").unwrap();
        for second in ["file.creating-0123456789abcdef", "file.backing-up-0123456789abcdef", "by-hand"] {
            fs::hard_link(at("file"), at(second)).unwrap();
        }
        fs::write(at("file.creating-0123456789abcde0"), "another file").unwrap();
        remove_second_name(&at("file"), &fs::metadata(at("file")).unwrap());
        assert_eq!(names(directory.path()), ["by-hand", "file", "file.creating-0123456789abcde0"]);
    }

    #[test]
    fn a_file_that_was_removed_before_it_was_published_is_lost_and_nothing_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        let mut unpublished = Unpublished::beside(&target, "creating", false).unwrap();
        fs::remove_file(&unpublished.path).unwrap();
        assert_eq!(unpublished.publish(&target).unwrap(), Published::Lost);
        assert!(!target.exists());
    }
}
