//! `millpond plugin build`: runs cargo with the target that plugins are built for, and then `check`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode, Stdio};

use clap::{Arg, ArgMatches, Command, value_parser};
use millpond::Plugin;
use serde_json::Value;

use super::check;
use crate::Result;
use crate::shown::shown;
use crate::units::size;

const TARGET: &str = "wasm32-unknown-unknown";

pub fn command() -> Command {
    Command::new("build").about("Builds the plugin in a folder, and checks it").arg(
        Arg::new("folder")
            .value_name("DIR")
            .default_value(".")
            .value_parser(value_parser!(PathBuf))
            .help("The folder of its Cargo.toml"),
    )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let folder: &PathBuf = matches.get_one("folder").expect("it has a default");
    if !folder.join("Cargo.toml").is_file() {
        return Err(format!("there is no Cargo.toml in {}: go to the plugin's folder", folder.display()).into());
    }
    let Some(messages) = built(folder)? else {
        if lacks_target(folder) {
            let remedy =
                format!("Rust's target for WebAssembly is not installed. Run:\n\n  rustup target add {TARGET}\n");
            eprintln!("\n{remedy}");
        }
        return Ok(ExitCode::FAILURE);
    };
    let file = wasm(&messages).ok_or(
        "cargo has built no .wasm: Cargo.toml needs  [lib] crate-type = [\"cdylib\", \"rlib\"]  (`millpond plugin new` writes it)",
    )?;
    println!("{}, {}", shown(&file.to_string_lossy()), size(file.metadata()?.len()));
    check::built(&Plugin::from_file(&file)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Builds with cargo, and returns cargo's messages in JSON. `None` if the build fails: cargo has printed the reason.
fn built(folder: &Path) -> Result<Option<String>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut build = Process::new(&cargo);
    build.args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"]);
    let output = build.current_dir(folder).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("could not start {}: {error}; is Rust installed?", cargo.display()))?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Whether the standard library for the target is missing. False if the compiler cannot be run, because the build has
/// then failed for another reason.
fn lacks_target(folder: &Path) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let asked = Process::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(folder).output();
    asked.is_ok_and(|told| told.status.success() && !Path::new(String::from_utf8_lossy(&told.stdout).trim()).is_dir())
}

/// The last `.wasm` file in cargo's messages. The files of dependencies come before it.
fn wasm(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let files = messages.filter_map(|message| message["filenames"].as_array().cloned()).flatten();
    let mut files = files.filter_map(|file| file.as_str().map(PathBuf::from));
    files.rfind(|file| file.extension().is_some_and(|ending| ending == "wasm"))
}
