//! A plugin's file, looked at now and then for a new version. Who looks, and when, is the runtime's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::PluginError;
use crate::sync::{Mutex, MutexGuard};

/// A file that is looked at.
pub(super) struct WatchedFile {
    pub path: PathBuf,
    pub every: Duration,
    looks: Mutex<Looks>,
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Looks {
    last: Option<Found>,
    /// What was there when it was read; before it was read for the first time, nothing is known.
    read: Option<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    File {
        len: u64,
        modified: Option<SystemTime>,
    },
    /// Something other than a regular file, such as a directory or a pipe.
    NoFile,
    Nothing,
}

impl WatchedFile {
    pub fn new(file: Option<PathBuf>, every: Duration) -> Result<Self, PluginError> {
        let wrong = |reason: &str| PluginError::Misconfigured { what: "setting `watch`", reason: reason.to_owned() };
        let path = file.ok_or_else(|| wrong("it was given as bytes, there is no file to look at"))?;
        if every.is_zero() {
            return Err(wrong("zero would look all the time"));
        }
        Ok(Self { path, every, looks: Mutex::default() })
    }

    /// For one look; nothing if somebody looks already, who may be compiling for seconds.
    pub fn begin(&self) -> Option<MutexGuard<'_, Looks>> {
        match self.looks.try_lock() {
            Ok(looks) => Some(looks),
            Err(std::sync::TryLockError::Poisoned(looks)) => Some(looks.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl Looks {
    /// Looks, and says whether the file is to be read: it is another than the one that was read, and was the same at the
    /// look before. So one that is just being written is left alone until it is whole.
    pub fn look(&mut self, path: &Path) -> bool {
        let found = Found::at(path);
        let settled = self.last.replace(found) == Some(found);
        if !settled || self.read == Some(found) {
            return false;
        }
        self.read = Some(found);
        true
    }
}

impl Found {
    fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => Self::NoFile,
            Ok(file) => Self::File { len: file.len(), modified: file.modified().ok() },
            Err(_) => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_once_for_each_change_and_not_while_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guest.wasm");
        let mut looks = Looks::default();
        let mut look = |len: Option<usize>| {
            match len {
                Some(len) if fs::metadata(&path).is_ok_and(|file| file.len() == len as u64) => {}
                Some(len) => fs::write(&path, vec![0; len]).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
            looks.look(&path)
        };
        let lens = [Some(1), Some(1), Some(1), Some(2), Some(3), Some(3), Some(3), None, Some(4), Some(4)];
        let read = lens.map(&mut look);
        assert_eq!(read, [false, true, false, false, false, true, false, false, false, true]);
        assert_eq!([None, None, None].map(look), [false, true, false], "that it is gone is said once");
    }

    #[test]
    fn one_of_the_same_length_is_another_by_its_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut looks = Looks::default();
        let mut look = |at: u64| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            file.as_file().set_modified(at).unwrap();
            looks.look(file.path())
        };
        // An older one is put back: that is a change as well.
        assert_eq!([2, 2, 2, 1, 1, 1].map(&mut look), [false, true, false, false, true, false]);
    }
}
