//! `millpond verify`: reads the whole file and checks it.

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::printable;

use super::verb;
use crate::Result;
use crate::at::At;
use crate::exit::Exit;
use crate::output::{self, Progress, count};

pub fn command() -> Command {
    verb("verify", "Reads the whole file and checks it; exit code 7 if something is wrong")
}

pub async fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let at = At::open(matches).await?;
    let progress = Progress::of("checking", None);
    let check = at.source.check().await?;
    drop(progress);
    if matches.get_flag("json") {
        output::json(&check)?;
    } else {
        check.problems.iter().try_for_each(|problem| output::line(&printable(problem)))?;
        let (jobs, problems) = (count(check.jobs), count(check.problems.len() as u64));
        match check.problems.is_empty() {
            true => output::line(&format!("{jobs} jobs were checked, and nothing is wrong"))?,
            false => output::line(&format!("{jobs} jobs were checked: {problems} problems"))?,
        }
    }
    at.close().await?;
    Ok(if check.problems.is_empty() { ExitCode::SUCCESS } else { Exit::Unsound.into() })
}
