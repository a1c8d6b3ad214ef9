//! Files that are no regular files, and calls that would wait for one for ever.
#![allow(dead_code)]

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, Mode};

/// Longer than any open takes. An open that waits for a writer of a pipe never ends.
const HANGS_AFTER: Duration = Duration::from_secs(20);

pub fn pipe(path: &Path) {
    rustix::fs::mkfifoat(CWD, path, Mode::from_raw_mode(0o600)).unwrap();
}

/// Runs `work` on a thread of its own and returns its result: if it hangs, only this test fails.
pub fn unless_it_hangs<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(HANGS_AFTER).unwrap_or_else(|_| panic!("{what} hangs"))
}
