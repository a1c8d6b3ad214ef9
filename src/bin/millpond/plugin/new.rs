//! `millpond plugin new`: a folder with a plugin in Rust that builds, and whose test passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::Result;

/// What is written, and where. `{name}`, `{crate}` and `{sdk}` are filled in.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("scaffold/config.toml.in")),
    ("src/lib.rs", include_str!("scaffold/lib.rs.in")),
    ("README.md", include_str!("scaffold/README.md.in")),
    (".gitignore", "target\n"),
];

/// The SDK is not published: what is here is the one of the checkout that this program was built from.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-sdk");

/// Longest name in bytes, as for plugins.
const NAME_BYTES_MAX: usize = 128;

/// Names that cargo or the compiler would stumble over.
const TAKEN: [&str; 60] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "millpond-guest",
    "millpond_guest",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "serde",
    "serde_json",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "union",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
];

pub fn command() -> Command {
    Command::new("new")
        .about("Makes a folder with a plugin in Rust")
        .arg(Arg::new("name").value_name("NAME").required(true).help("The plugin's name and the folder's"))
        .arg(
            Arg::new("sdk")
                .long("sdk")
                .value_name("PATH")
                .value_parser(value_parser!(PathBuf))
                .help("The folder of millpond-guest [default: the one beside this program's source]"),
        )
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let name: &String = matches.get_one("name").expect("required");
    check_name(name)?;
    let sdk = sdk(matches.get_one::<PathBuf>("sdk").map(PathBuf::as_path))?;
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => format!("{name} is there already: choose another name, or remove it"),
        _ => format!("could not make the folder {name}: {error}"),
    })?;
    for (file, text) in FILES {
        write(&folder.join(file), &fill_in(text, name, &sdk))?;
    }
    println!("{name} is made. Next:\n  cd {name}\n  cargo test             # on this machine, with a host of its own");
    println!("  millpond plugin build  # target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_"));
    Ok(ExitCode::SUCCESS)
}

/// What cargo, the compiler and the queue all take for a name.
fn check_name(name: &str) -> Result<()> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_word) {
        return Err(format!("{name:?} is no name for a plugin: use a-z, 0-9, - and _, and begin with a letter").into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{name:?} is no name for a plugin: it is longer than {NAME_BYTES_MAX} letters").into());
    }
    if TAKEN.contains(&name) {
        return Err(format!("{name:?} is no name for a plugin: Rust uses it for something else").into());
    }
    Ok(())
}

/// Where the SDK is, absolute: the new folder may be moved.
fn sdk(given: Option<&Path>) -> Result<String> {
    let path = given.unwrap_or(Path::new(OWN_SDK));
    let manifest = path.join("Cargo.toml");
    // Reading a pipe could wait forever.
    let manifest = if manifest.is_file() { fs::read_to_string(manifest).unwrap_or_default() } else { String::new() };
    if !manifest.contains("name = \"millpond-guest\"") {
        let shown = path.display();
        let remedy = "it is not published yet: give the folder guest-sdk of a copy of Millpond's repository with --sdk";
        return Err(format!("the crate millpond-guest is not in {shown}; {remedy}").into());
    }
    let path = path.canonicalize().map_err(|error| format!("could not find {}: {error}", path.display()))?;
    path.into_os_string().into_string().map_err(|path| format!("{path:?} cannot be written into a Cargo.toml").into())
}

fn fill_in(text: &str, name: &str, sdk: &str) -> String {
    let quoted = sdk.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace("{name}", name).replace("{crate}", &name.replace('-', "_")).replace("{sdk}", &quoted)
}

fn write(file: &Path, text: &str) -> Result<()> {
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, text))
        .map_err(|error| format!("could not write {}: {error}", file.display()))?;
    Ok(())
}
