//! `millpond backup`: a copy of the file that can be opened.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use millpond::dashboard::api::Action;

use super::{act, verb};
use crate::Result;
use crate::at::At;
use crate::exit::{Exit, Failed};
use crate::output::Progress;

pub fn command() -> Command {
    verb("backup", "Copies the file, also while a process works with it, and checks the copy").arg(
        Arg::new("to")
            .value_name("PATH")
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("Where the copy is made, on the machine of the file; nothing may be there"),
    )
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let to = matches.get_one::<PathBuf>("to").cloned().unwrap_or_default();
    // The process that has the file has a directory of its own.
    let to = std::path::absolute(to)?;
    let path = to.to_str().ok_or_else(|| Failed::new(Exit::Usage, "the path is not text in UTF-8"))?.to_owned();
    let at = At::open(matches).await?;
    let _progress = Progress::of("copying", None);
    act(matches, at, vec![Action::Backup { path }]).await
}
