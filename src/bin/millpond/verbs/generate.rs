//! `millpond completions` and `millpond man`: what a package installs beside the program.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use crate::Result;

pub fn completions() -> Command {
    Command::new("completions")
        .about("Prints the completions of a shell")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell"))
}

pub fn man() -> Command {
    Command::new("man").about("Prints the man page, or writes one for each command").arg(
        Arg::new("directory")
            .value_name("DIRECTORY")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::DirPath)
            .help("Writes millpond.1 and one page for each command there"),
    )
}

pub fn run_completions(matches: &ArgMatches) -> Result<ExitCode> {
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        let mut script = Vec::new();
        clap_complete::generate(*shell, &mut crate::command(), "millpond", &mut script);
        crate::output::line(String::from_utf8_lossy(&script).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn run_man(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.get_one::<PathBuf>("directory") {
        Some(directory) => {
            fs::create_dir_all(directory)?;
            clap_mangen::generate_to(crate::command(), directory)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(crate::command()).render(&mut page)?;
            crate::output::line(String::from_utf8_lossy(&page).trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
