//! A file that this process opens.

use std::path::Path;

use millpond::{Error, Lz4, Millpond};

use crate::exit::{Exit, Failed};
use crate::{Result, sentence};

/// Opens a file, or returns `None` if a process has it open. A file that does not exist is made only if `is_made` says so.
pub fn open(path: &Path, is_made: bool) -> Result<Option<Millpond>> {
    if !is_made && let Err(error) = std::fs::metadata(path) {
        let text = format!("cannot read {}: {error}; give the path of a file that exists", path.display());
        return Err(Failed::new(Exit::NotFound, text).into());
    }
    // Compaction takes the file for itself: a command that looks at it does not wait for that.
    let builder = || Millpond::builder().compaction(false);
    let opened = match builder().open(path) {
        Err(Error::OtherPayloadCodec { stored, .. }) if stored == millpond::PayloadCodec::name(&Lz4::new()) => {
            builder().payload_codec(Lz4::new()).open(path)
        }
        opened => opened,
    };
    match opened {
        Ok(pond) => Ok(Some(pond)),
        Err(Error::AlreadyOpen { .. }) => Ok(None),
        Err(error) => Err(explain(&error).into()),
    }
}

/// The error of an open, with what can be done.
fn explain(error: &Error) -> Failed {
    let (exit, help) = match error {
        Error::OtherPayloadCodec { .. } => (
            Exit::Conflict,
            ". This program does not have that codec: ask a process that has it, with `--url` or `--socket`",
        ),
        Error::NotAMillpond { .. } | Error::EmptyFile { .. } | Error::TooNew { .. } => (Exit::Conflict, ""),
        _ => (Exit::Failed, ""),
    };
    Failed::new(exit, format!("{}{help}", sentence(error)))
}
