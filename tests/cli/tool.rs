//! Runs the program, and reads what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, with these arguments.
pub fn millpond(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    command.args(words);
    command
}

/// A file of the project.
pub fn project(path: &str) -> String {
    format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))
}

pub fn noop() -> String {
    project("guest-examples/rust-noop/noop.wasm")
}

/// What the program printed, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { out: text(output.stdout), err: text(output.stderr), code: output.status.code() }
    }
}

pub fn say(command: &mut Command) -> Said {
    command.output().unwrap().into()
}

/// The program succeeds, and prints all of this.
#[track_caller]
pub fn does(words: &[&str], says: &[&str]) -> Said {
    let said = say(&mut millpond(words));
    assert_eq!(said.code, Some(0), "{said:?}");
    for word in says {
        assert!(said.out.contains(word), "no {word:?} in {}", said.out);
    }
    said
}

/// The program fails, and prints the reason as one error.
#[track_caller]
pub fn refuses(command: &mut Command, says: &str) {
    let said = say(command);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("error: ") && said.err.contains(says), "{said:?}");
    assert!(!said.err.contains("panicked"), "{said:?}");
}

pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, bytes).unwrap();
    file
}
