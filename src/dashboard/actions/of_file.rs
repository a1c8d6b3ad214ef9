//! Actions on the file.

use std::path::Path;
use std::time::Duration;

use crate::Millpond;

use super::super::api::{Code, Done, Problem};
use super::super::{amounts, found};
use super::done::done;

/// How often a compaction is tried while others read the file.
const COMPACTIONS_MAX: u32 = 50;

/// How long a compaction waits for those who read the file before it is tried again.
const READERS_WAIT: Duration = Duration::from_millis(100);

/// Copies the file. `to` is absolute, because whoever asks is another process with a directory of its own.
pub(super) fn back_up(pond: &Millpond, to: &str) -> Result<Done, Problem> {
    let path = Path::new(to);
    if !path.is_absolute() {
        return Err(Problem::invalid(format!("{to:?} is no absolute path")));
    }
    let backup = pond.backup(path).wait()?;
    let check = found(backup.verification);
    let message = format!("{}: {}; {}", backup.path.display(), amounts::bytes(backup.bytes), check.sentence());
    Ok(Done { problems: check.problems, ..done(message) })
}

/// Compacts the file. Readers leave soon: each reads a page at most.
pub(super) fn compact(pond: &Millpond) -> Result<Done, Problem> {
    if pond.storage()?.file_bytes.is_none() {
        return Err(Problem::new(
            Code::Unsupported,
            "the database is one that the application has opened itself: only it can compact it",
        ));
    }
    for _ in 0..COMPACTIONS_MAX {
        if let Some(done_now) = pond.compact().wait()? {
            let [before, after] = [done_now.before, done_now.after].map(amounts::bytes);
            return Ok(done(format!("the file had {before}, and has {after} now")));
        }
        std::thread::sleep(READERS_WAIT);
    }
    Err(Problem::new(Code::Conflict, "the file is being read all the time, so it was not compacted: try again later"))
}

pub(super) fn check(pond: &Millpond) -> Result<Done, Problem> {
    Ok(found(pond.verify().wait()?).into_done())
}
