//! `millpond plugin`: commands that make, build, check and run a plugin.

mod build;
mod check;
mod ended;
mod listener;
mod new;
mod report;
mod run;
mod sent;
mod setting;
mod timings;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use crate::Result;

pub fn command() -> Command {
    Command::new("plugin")
        .about("Sandboxed handlers: make, build, check and run them")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([new::command(), build::command(), check::command(), run::command()])
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    match matches.subcommand() {
        Some(("new", matches)) => new::run(matches),
        Some(("build", matches)) => build::run(matches),
        Some(("check", matches)) => check::run(matches),
        Some(("run", matches)) => run::run(matches),
        _ => unreachable!("a subcommand is required"),
    }
}
