//! The README's first program is the text of `examples/first/program.rs`, it runs and stops as the README says, and
//! it builds with the README's dependencies. `guide.rs` checks its links.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::package;

/// The program itself, in this test binary.
mod first {
    include!("../../examples/first/program.rs");

    pub fn run() {
        main().unwrap();
    }
}

/// Set in the child process that runs the program.
const CHILD: &str = "MILLPOND_TEST_FIRST_PROGRAM";

/// What the program prints.
const OUTPUT: [&str; 2] = ["press Ctrl-C to stop", "welcome, ada@example.org"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The text of the first fenced block that opens with this line.
fn block<'a>(text: &'a str, opening: &str) -> &'a str {
    let start = text.find(opening).unwrap() + opening.len();
    &text[start..start + text[start..].find("```").unwrap()]
}

/// Whether the process, which must be running, has a handler for SIGINT.
fn catches_sigint(process: rustix::process::Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (libc::SIGINT - 1)) != 0
}

/// Waits until the program has printed both of its lines, sends it SIGINT, and waits for its end.
fn interrupt_once_it_has_printed(mut program: Child) -> ExitStatus {
    let mut missing = BTreeSet::from(OUTPUT);
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    while !missing.is_empty() {
        let Some(line) = lines.next() else { break };
        missing.remove(line.unwrap().as_str());
    }
    assert!(missing.is_empty(), "the program ended without printing {missing:?}");
    let process = rustix::process::Pid::from_child(&program);
    // The program prints its last line just before it begins to listen for Ctrl-C.
    while !catches_sigint(process) {
        std::thread::yield_now();
    }
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    // The pipe stays open for what the program prints until it ends.
    lines.for_each(drop);
    program.wait().unwrap()
}

#[test]
fn the_first_program_of_the_readme_is_the_example_first() {
    assert_eq!(block(&readme(), "```rust,no_run\n"), include_str!("../../examples/first/program.rs"));
}

#[test]
fn the_readme_has_fewer_than_200_lines() {
    assert!(readme().lines().count() < 200);
}

#[test]
fn no_program_of_the_readme_has_lines_that_only_rustdoc_hides() {
    let readme = readme();
    for code in readme.split("```rust").skip(1) {
        let code = &code[..code.find("```").unwrap()];
        assert!(!code.lines().any(|line| line.starts_with("# ")), "{code}");
    }
}

#[test]
fn the_first_program_runs_its_job_waits_for_ctrl_c_and_exits_with_success() {
    let directory = tempfile::tempdir().unwrap();
    let program = Command::new(std::env::current_exe().unwrap())
        // With one thread the harness would print the name of the test in front of the first line.
        .args(["--exact", "readme::child_that_runs_the_first_program", "--nocapture", "--test-threads=2"])
        .env(CHILD, "1")
        .current_dir(&directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(interrupt_once_it_has_printed(program).success());
    assert!(directory.path().join("app.redb").exists());
}

#[test]
fn child_that_runs_the_first_program() {
    if std::env::var_os(CHILD).is_some() {
        first::run();
    }
}

/// The README's two blocks as a package of their own, as a reader would paste them.
#[test]
#[ignore = "compiles the crate and its dependencies anew: some minutes"]
fn the_first_program_builds_with_the_dependencies_in_the_readme() {
    let directory = tempfile::tempdir().unwrap();
    let readme = readme();
    let dependencies = block(&readme, "```toml\n").replace("../millpond", root().to_str().unwrap());
    assert!(dependencies.contains(root().to_str().unwrap()));
    let program = package::build(directory.path(), &dependencies, block(&readme, "```rust,no_run\n"));
    let program = Command::new(program).current_dir(&directory).stdout(Stdio::piped()).spawn().unwrap();
    assert!(interrupt_once_it_has_printed(program).success());
}
