//! The compiler answers mistakes in a handler's signature with messages of this crate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The code before each snippet.
const PRELUDE: &str = r#"
#![allow(dead_code, unused_imports)]
use millpond::{Context, Handled, Job, Kind, Millpond, NewJob};

#[derive(serde::Serialize, serde::Deserialize)]
struct Welcome;

impl Kind for Welcome {
    const KIND: &'static str = "welcome";
}

#[derive(serde::Serialize, serde::Deserialize)]
struct NoKind;
"#;

/// A correct program beside the mistakes: it compiles.
const RIGHT: (&str, &str) =
    ("async fn welcome(_: Job<Welcome>, _: Context) -> Handled { Ok(()) }", r#"pond.worker("q").handle(welcome);"#);

/// The libraries with this name that cargo has built for this test or for others, the latest first.
fn libraries(name: &str) -> Vec<PathBuf> {
    let directory = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let prefix = format!("lib{name}-");
    let found = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| {
        let file = path.file_name().unwrap().to_str().unwrap();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().modified().unwrap()));
    found
}

/// This crate, and the serde that it was built with.
fn linked() -> &'static (PathBuf, PathBuf) {
    static LINKED: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    LINKED.get_or_init(|| {
        let millpond = libraries("millpond").into_iter().next().expect("cargo has built it");
        let serde = libraries("serde").into_iter().find(|serde| compile(&millpond, serde, RIGHT).is_ok());
        (millpond, serde.expect("a correct handler compiles with one of them"))
    })
}

/// The error of the compiler for these items, and for these statements of a function that has a `pond`.
fn compile(millpond: &Path, serde: &Path, (items, call): (&str, &str)) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("snippet.rs");
    fs::write(&source, format!("{PRELUDE}\n{items}\nfn main() {{}}\nfn start(pond: Millpond) {{ {call} }}\n")).unwrap();
    let anyhow = libraries("anyhow").into_iter().next().expect("cargo has built it");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "--emit", "metadata", "--color", "never", "--out-dir"])
        .arg(directory.path())
        .arg("-L")
        .arg(format!("dependency={}", millpond.parent().unwrap().display()))
        .args(["--extern", &format!("millpond={}", millpond.display())])
        .args(["--extern", &format!("serde={}", serde.display())])
        .args(["--extern", &format!("anyhow={}", anyhow.display())])
        .arg(source)
        .output()
        .unwrap();
    let said = String::from_utf8(compiled.stderr).unwrap();
    if compiled.status.success() { Ok(()) } else { Err(said) }
}

/// The error of the compiler, which must be the only one.
fn refused(items: &str, call: &str) -> String {
    let (millpond, serde) = linked();
    let said = compile(millpond, serde, (items, call)).expect_err("it must not compile");
    assert_eq!(said.matches("error[").count(), 1, "{said}");
    said
}

#[track_caller]
fn assert_says(said: &str, texts: &[&str]) {
    for text in texts {
        assert!(said.contains(text), "it does not say {text:?}, but:\n{said}");
    }
}

#[test]
fn arguments_in_the_wrong_order_are_explained_by_the_compiler() {
    let said = refused(
        "async fn welcome(_: Context, _: Job<Welcome>) -> Handled { Ok(()) }",
        "pond.worker(\"q\").handle(welcome);",
    );
    assert_says(
        &said,
        &["is not an async handler", "its first argument is `Job<T>`, not `T`", "`Context` and `Data<...>` follow it"],
    );
}

#[test]
fn a_payload_in_place_of_its_job_is_explained_by_the_compiler() {
    let said = refused("async fn welcome(_: Welcome) -> Handled { Ok(()) }", "pond.worker(\"q\").handle(welcome);");
    assert_says(&said, &["is not an async handler", "its first argument is `Job<T>`, not `T`"]);
}

#[test]
fn a_result_of_anyhow_is_explained_by_the_compiler() {
    let said = refused(
        "async fn welcome(_: Job<Welcome>) -> anyhow::Result<()> { Ok(()) }",
        "pond.worker(\"q\").handle(welcome);",
    );
    assert_says(
        &said,
        &["is not an async handler", "not `anyhow::Result<()>`", "`?` turns any error into a `Failure`"],
    );
}

#[test]
fn async_and_blocking_functions_in_each_others_place_are_explained_by_the_compiler() {
    let said = refused("fn welcome(_: Job<Welcome>) -> Handled { Ok(()) }", "pond.worker(\"q\").handle(welcome);");
    assert_says(&said, &["is not an async handler", "for a function that is not async use `handle_blocking`"]);
    let said = refused(
        "async fn welcome(_: Job<Welcome>) -> Handled { Ok(()) }",
        "pond.worker(\"q\").handle_blocking(welcome);",
    );
    assert_says(&said, &["is not a blocking handler", "for an `async fn` use `handle`"]);
}

#[test]
fn the_error_for_a_payload_without_a_kind_shows_the_missing_line() {
    let said = refused("", "NewJob::new(NoKind);");
    assert_says(&said, &["`NoKind` is not a kind of job", "impl millpond::Kind for NoKind { const KIND: &'static str"]);
}
