//! Builds a program that uses this crate as a package of its own. It compiles the dependencies anew, which takes
//! minutes, so the tests that need it are ignored by default.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a package in this directory, with these sections of its manifest and this program. Returns the program's
/// path.
pub fn build(directory: &Path, sections: &str, program: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = "[package]\nname = \"program\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    fs::write(directory.join("Cargo.toml"), format!("{package}\n{sections}")).unwrap();
    fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    fs::create_dir(directory.join("src")).unwrap();
    fs::write(directory.join("src/main.rs"), program).unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--jobs", "2", "--target-dir", "target"])
        .current_dir(directory)
        .status()
        .unwrap();
    assert!(built.success());
    directory.join("target/debug/program")
}
