//! `millpond compact`: gives the free space of the file back to the system.

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::dashboard::api::{Action, Done};
use millpond::redb::{Database, DatabaseError};

use super::{act, tell, verb};
use crate::Result;
use crate::at::{self, At};
use crate::exit::{Exit, Failed};
use crate::output::Progress;
use crate::units::size;

pub fn command() -> Command {
    verb("compact", "Gives the free space of the file back to the system; reads and writes wait meanwhile")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let opened = At::open(matches).await?;
    let progress = Progress::of("compacting", None);
    if opened.pond.is_none() {
        return act(matches, opened, vec![Action::Compact]).await;
    }
    // What a crash has left behind is put in order, and the file is known to be one of Millpond.
    opened.close().await?;
    let path = at::path(matches)?.to_owned();
    let before = std::fs::metadata(&path)?.len();
    let of = path.clone();
    tokio::task::spawn_blocking(move || compact(&of)).await??;
    drop(progress);
    let after = std::fs::metadata(&path)?.len();
    let message = format!("the file had {}, and has {} now", size(before), size(after));
    tell(matches, &[Done { changed: 1, message, ..Done::default() }])?;
    Ok(ExitCode::SUCCESS)
}

fn compact(path: &Path) -> Result<()> {
    let mut database = match Database::open(path) {
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            let text = format!("another process has {} open", path.display());
            return Err(Failed::new(Exit::Unreachable, text).into());
        }
        opened => opened?,
    };
    database.compact()?;
    Ok(())
}
