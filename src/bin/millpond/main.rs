//! The command line program `millpond`. It uses only the public interface of the crate, as every application does.

// The program runs plugins, so it needs the newer compiler that wasmtime needs.
#![allow(clippy::incompatible_msrv)]

mod ask;
mod at;
mod client;
mod exit;
mod output;
mod plugin;
mod shown;
mod units;
mod verbs;

use std::process::ExitCode;

use clap::{ArgMatches, Command};
use millpond::BoxError;
use shown::shown;

/// The result of a command. Its error is printed on the terminal.
type Result<T> = std::result::Result<T, BoxError>;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some(("plugin", matches)) => plugin::run(matches),
        Some((name, matches)) => run(name, matches),
        None => unreachable!("a subcommand is required"),
    };
    done.unwrap_or_else(|error| {
        let exit = exit::of(&error);
        if exit != exit::Exit::ReaderLeft {
            eprintln!("error: {}", shown(&sentence(&*error)));
        }
        exit.into()
    })
}

/// The program with all its commands.
fn command() -> Command {
    Command::new("millpond")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A durable job queue inside your own process: look at one, and steer it")
        .after_help(exit::HELP)
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(verbs::commands())
        .subcommand(plugin::command())
}

fn run(name: &str, matches: &ArgMatches) -> Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(verbs::run(name, matches))
}

/// The text of an error, followed by the texts of its sources.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}
