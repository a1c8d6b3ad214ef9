//! The command line program `millpond`. It uses only the public interface of the crate, as every application does.

// The program runs plugins, so it needs the newer compiler that wasmtime needs.
#![allow(clippy::incompatible_msrv)]

mod plugin;
mod shown;
mod units;

use std::process::ExitCode;

use clap::Command;
use millpond::BoxError;
use shown::shown;

/// The result of a command. Its error is printed on the terminal.
type Result<T> = std::result::Result<T, BoxError>;

fn main() -> ExitCode {
    let command = Command::new("millpond")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A durable job queue inside your own process")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(plugin::command());
    let done = match command.get_matches().subcommand() {
        Some(("plugin", matches)) => plugin::run(matches),
        _ => unreachable!("a subcommand is required"),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {}", shown(&sentence(&*error)));
        ExitCode::FAILURE
    })
}

/// The text of an error, followed by the texts of its sources.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}
