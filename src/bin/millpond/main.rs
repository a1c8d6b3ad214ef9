//! `millpond`, the command line. It knows of the queue what any application knows: the public interface.

// It has plugins, which need the compiler that wasmtime needs.
#![allow(clippy::incompatible_msrv)]

mod plugin;
mod shown;
mod units;

use std::process::ExitCode;

use clap::Command;
use millpond::BoxError;
use shown::shown;

/// An error is a sentence for the person at the terminal.
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

/// An error with what is behind it.
fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}
