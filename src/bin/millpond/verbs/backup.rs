//! `millpond backup`: a copy of the file that can be opened.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use millpond::printable;
use serde_json::json;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::{self, Progress, count};
use crate::units::size;

pub fn command() -> Command {
    verb("backup", "Copies the file and checks the copy").arg(
        Arg::new("to")
            .value_name("PATH")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("Where the copy is made; nothing may be there"),
    )
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let Some(pond) = &at.pond else {
        let help = "a running process makes its backups itself, with `Millpond::backup`: call that, or stop it first";
        return Err(Failed::new(Exit::Conflict, help).into());
    };
    let to = matches.get_one::<PathBuf>("to").cloned().unwrap_or_default();
    let progress = Progress::of("copying", None);
    let backup = pond.backup(&to).await?;
    drop(progress);
    let is_ok = backup.verification.is_ok();
    if matches.get_flag("json") {
        output::json(&json!({
            "path": backup.path.to_string_lossy(),
            "bytes": backup.bytes,
            "jobs": backup.verification.jobs,
            "problems": backup.verification.problems,
        }))?;
    } else {
        let (path, jobs) = (backup.path.display().to_string(), count(backup.verification.jobs));
        output::line(&format!("{}: {}, {jobs} jobs", printable(&path), size(backup.bytes)))?;
        backup.verification.problems.iter().try_for_each(|problem| output::line(&printable(problem)))?;
    }
    at.close().await?;
    Ok(if is_ok { ExitCode::SUCCESS } else { Exit::Unsound.into() })
}
