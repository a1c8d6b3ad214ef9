//! `millpond compact`: gives the free space of the file back to the system.

use std::path::Path;
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::redb::{Database, DatabaseError};
use serde_json::json;

use super::verb;
use crate::Result;
use crate::at::{self, At};
use crate::exit::{Exit, Failed};
use crate::output::{self, Progress};
use crate::units::size;

pub fn command() -> Command {
    verb("compact", "Gives the free space of a file back to the system; nobody may have the file open")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let opened = At::open(matches).await?;
    if opened.pond.is_none() {
        let help = "a running process compacts its file itself when it is idle: stop it to compact the file now";
        return Err(Failed::new(Exit::Conflict, help).into());
    }
    // What a crash has left behind is put in order, and the file is known to be one of Millpond.
    opened.close().await?;
    let path = at::path(matches)?.to_owned();
    let before = std::fs::metadata(&path)?.len();
    let progress = Progress::of("compacting", None);
    let of = path.clone();
    tokio::task::spawn_blocking(move || compact(&of)).await??;
    drop(progress);
    let after = std::fs::metadata(&path)?.len();
    match matches.get_flag("json") {
        true => output::json(&json!({ "before_bytes": before, "after_bytes": after }))?,
        false => output::line(&format!("{} before, {} now", size(before), size(after)))?,
    }
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
