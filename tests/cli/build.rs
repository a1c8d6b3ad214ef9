//! The command `millpond plugin build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tool::{Said, millpond, project, refuses, say, write};

const TARGET: &str = "wasm32-unknown-unknown";

/// A plugin as `new` makes it, with the dependency versions of the example handlers.
fn scaffold(folder: &Path) -> PathBuf {
    let said = say(millpond(&["plugin", "new", "greet"]).current_dir(folder));
    assert_eq!(said.code, Some(0), "{said:?}");
    fs::copy(project("guest-examples/rust-webhook-filter/Cargo.lock"), folder.join("greet/Cargo.lock")).unwrap();
    folder.join("greet")
}

/// Keeps what is built between runs: the dependencies take most of the time.
fn kept(command: &mut Command) -> &mut Command {
    command.env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("scaffold"))
}

fn can_build() -> bool {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output().unwrap();
    Path::new(String::from_utf8(asked.stdout).unwrap().trim()).is_dir()
}

#[test]
fn a_new_plugin_passes_its_tests_is_built_and_runs() {
    if !can_build() {
        eprintln!("skipped: rustup target add {TARGET}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plugin = scaffold(folder.path());
    let tested: Said = say(kept(&mut Command::new("cargo")).arg("test").current_dir(&plugin));
    assert!(tested.code == Some(0) && tested.out.contains("2 passed"), "{tested:?}");

    let built = say(kept(&mut millpond(&["plugin", "build", plugin.to_str().unwrap()])));
    assert_eq!(built.code, Some(0), "{built:?}");
    assert!(built.out.contains("greet would be registered: a core module"), "{built:?}");
    let wasm = built.out.lines().next().unwrap().split(", ").next().unwrap();

    let payload = write(folder.path(), "ada.json", br#"{ "name": "Ada" }"#);
    let ran = say(&mut millpond(&["plugin", "run", wasm, "--payload", payload.to_str().unwrap()]));
    assert!(ran.out.contains(r#"result: "Hello, Ada!""#) && ran.out.contains("log: INFO greeting Ada"), "{ran:?}");
}

#[test]
fn a_compile_error_is_reported_by_cargo() {
    if !can_build() {
        eprintln!("skipped: rustup target add {TARGET}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let manifest = "[package]\nname = \"broken\"\nedition = \"2024\"\n[workspace]\n[lib]\ncrate-type = [\"cdylib\"]\n";
    write(folder.path(), "Cargo.toml", manifest.as_bytes());
    fs::create_dir(folder.path().join("src")).unwrap();
    write(folder.path(), "src/lib.rs", b"fn broken( {");
    let build = ["plugin", "build", folder.path().to_str().unwrap()];
    let said = say(&mut millpond(&build));
    assert!(said.code == Some(1) && said.err.contains("could not compile"), "{said:?}");
    assert!(!said.err.contains("rustup"), "the target is there: {said:?}");

    write(folder.path(), "Cargo.toml", manifest.replace("\"cdylib\"", "\"rlib\"").as_bytes());
    write(folder.path(), "src/lib.rs", b"");
    let said = say(&mut millpond(&build));
    assert!(said.code == Some(1) && said.err.contains("error: cargo has built no .wasm"), "{said:?}");
}

#[test]
fn a_folder_without_a_package_is_named() {
    let folder = tempfile::tempdir().unwrap();
    refuses(millpond(&["plugin", "build"]).current_dir(folder.path()), "there is no Cargo.toml in .");
    refuses(&mut millpond(&["plugin", "build", "no/such"]), "there is no Cargo.toml in no/such");
}

/// Simulates a machine whose Rust lacks the target for WebAssembly: cargo fails, and the compiler names a folder that does not exist.
#[cfg(unix)]
#[test]
fn a_missing_target_is_reported_with_the_command_that_installs_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "Cargo.toml", b"");
    let build = |cargo: &str, rustc: &str| {
        let mut build = millpond(&["plugin", "build"]);
        build.current_dir(folder.path()).env("CARGO", cargo).env("RUSTC", rustc);
        build
    };
    let said = say(&mut build("false", "echo"));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("\n  rustup target add wasm32-unknown-unknown\n"), "{said:?}");
    // A compiler that cannot be asked has not said that the target is missing.
    let said = say(&mut build("false", "no-such-compiler"));
    assert!(said.code == Some(1) && !said.err.contains("rustup"), "{said:?}");
    refuses(&mut build("no-such-cargo", "echo"), "could not start no-such-cargo: ");
}
