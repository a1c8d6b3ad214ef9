//! Finds out whether a plugin's file has changed. `runtime/maintenance/plugin_watch.rs` decides when to check.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::PluginError;
use crate::sync::{Mutex, MutexGuard};

/// A file that is checked at an interval.
pub(super) struct WatchedFile {
    pub path: PathBuf,
    pub every: Duration,
    checks: Mutex<Checks>,
}

/// What the checks have found so far.
#[derive(Default)]
pub(super) struct Checks {
    /// What the latest check found.
    last: Option<Found>,
    /// What the check found after which the file was read last. `None` until the file was read.
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
        let path = file.ok_or_else(|| wrong("the plugin was given as bytes, so there is no file to watch"))?;
        if every.is_zero() {
            return Err(wrong("an interval of zero would check the file all the time"));
        }
        Ok(Self { path, every, checks: Mutex::default() })
    }

    /// Begins a check. Returns `None` if another thread is checking, which can compile for seconds.
    pub fn begin(&self) -> Option<MutexGuard<'_, Checks>> {
        match self.checks.try_lock() {
            Ok(checks) => Some(checks),
            Err(std::sync::TryLockError::Poisoned(checks)) => Some(checks.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl Checks {
    /// Checks the file, and returns whether it has to be read: it differs from the file that was read last, and is the
    /// same as at the check before. So a file that is still being written is not read until it is complete.
    pub fn is_due(&mut self, path: &Path) -> bool {
        let found = Found::at(path);
        let unchanged = self.last.replace(found) == Some(found);
        if !unchanged || self.read == Some(found) {
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
    fn a_file_is_read_once_for_each_change_and_not_while_it_changes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guest.wasm");
        let mut checks = Checks::default();
        let mut check = |len: Option<usize>| {
            match len {
                Some(len) if fs::metadata(&path).is_ok_and(|file| file.len() == len as u64) => {}
                Some(len) => fs::write(&path, vec![0; len]).unwrap(),
                None => drop(fs::remove_file(&path)),
            }
            checks.is_due(&path)
        };
        let lens = [Some(1), Some(1), Some(1), Some(2), Some(3), Some(3), Some(3), None, Some(4), Some(4)];
        let read = lens.map(&mut check);
        assert_eq!(read, [false, true, false, false, false, true, false, false, false, true]);
        assert_eq!([None, None, None].map(check), [false, true, false], "a missing file is reported once");
    }

    #[test]
    fn a_file_of_the_same_length_has_changed_if_its_time_has() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut checks = Checks::default();
        let mut check = |at: u64| {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
            file.as_file().set_modified(at).unwrap();
            checks.is_due(file.path())
        };
        // Restoring an older file is a change as well.
        assert_eq!([2, 2, 2, 1, 1, 1].map(&mut check), [false, true, false, false, true, false]);
    }
}
