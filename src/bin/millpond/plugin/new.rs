//! `millpond plugin new`: makes a folder with a plugin in Rust that builds and whose tests pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::Result;

/// The files that are written, with their texts. `{name}`, `{crate}` and `{sdk}` are replaced.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("scaffold/Cargo.toml.in")),
    (".cargo/config.toml", include_str!("scaffold/config.toml.in")),
    ("src/lib.rs", include_str!("scaffold/lib.rs.in")),
    ("README.md", include_str!("scaffold/README.md.in")),
    (".gitignore", "target\n"),
];

/// The SDK of the checkout that this program was built from. The SDK is not published yet.
const OWN_SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest-sdk");

/// The longest name in bytes: the limit of plugin names.
const NAME_BYTES_MAX: usize = 128;

/// Names that are valid for a plugin but not for this package: keywords, and names of crates that are used here or
/// built in.
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
        .arg(Arg::new("name").value_name("NAME").required(true).help("The name of the plugin and of the folder"))
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
        std::io::ErrorKind::AlreadyExists => format!("{name} exists already: choose another name, or remove it"),
        _ => format!("could not make the folder {name}: {error}"),
    })?;
    for (file, text) in FILES {
        write(&folder.join(file), &fill_in(text, name, &sdk))?;
    }
    println!("Created {name}. Next:\n  cd {name}\n  cargo test             # runs natively, with the SDK's test host");
    println!("  millpond plugin build  # target/wasm32-unknown-unknown/release/{}.wasm", name.replace('-', "_"));
    Ok(ExitCode::SUCCESS)
}

/// # Errors
/// Cargo, the compiler or the queue does not accept the name.
fn check_name(name: &str) -> Result<()> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(is_word) {
        return Err(format!("{name:?} is not a valid name: use a-z, 0-9, - and _, and begin with a letter").into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("{name:?} is not a valid name: it is longer than {NAME_BYTES_MAX} letters").into());
    }
    if TAKEN.contains(&name) {
        return Err(format!("{name:?} is not a valid name: it has another meaning in Rust or cargo").into());
    }
    Ok(())
}

/// The absolute path of the SDK, so that the new folder can be moved.
fn sdk(given: Option<&Path>) -> Result<String> {
    let path = given.unwrap_or(Path::new(OWN_SDK));
    let manifest = path.join("Cargo.toml");
    // Only a regular file is read, because reading a pipe could wait forever.
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
