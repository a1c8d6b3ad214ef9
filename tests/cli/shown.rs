//! Whatever a plugin or its file contains, it reaches the terminal as plain text.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::guest;
use crate::tool::{Said, millpond, noop, say, write};

/// Would clear the screen, colour it, or reverse the line.
const HARM: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2028}";

/// A component with an import of this name.
fn hostile() -> Vec<u8> {
    let escaped: String = HARM.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    wat::parse_str(format!(r#"(component (import "url=<{escaped}>" (instance)))"#)).unwrap()
}

#[track_caller]
fn is_plain(said: &Said) {
    for text in [&said.out, &said.err] {
        let harmful = text.chars().find(|c| *c != '\n' && *millpond::printable(&c.to_string()) != c.to_string());
        assert_eq!(harmful, None, "{text:?}");
    }
}

#[test]
fn the_imports_of_a_refused_plugin_are_shown_as_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "guest.wasm", &hostile());
    let file = file.to_str().unwrap();
    for words in [&["plugin", "check", file][..], &["plugin", "run", file]] {
        let said = say(&mut millpond(words));
        assert!(said.code == Some(1) && said.err.contains(r"it imports url=<\u{1b}[2J\u{9b}31m\u{202e}"), "{said:?}");
        is_plain(&said);
    }
    let said = say(&mut millpond(&["plugin", "check", file, "--json"]));
    is_plain(&said);
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert!(told["refused"].as_str().unwrap().contains(r"it imports url=<\u{1b}"), "{told}");
}

#[test]
fn the_name_of_a_file_is_shown_as_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("guest{HARM}.wasm"));
    for there in [false, true] {
        if there {
            fs::write(&file, "no plugin").unwrap();
        }
        let said = say(&mut millpond(&["plugin", "check", file.to_str().unwrap()]));
        assert!(said.code == Some(1) && said.err.contains(r"\u{1b}[2J"), "{said:?}");
        is_plain(&said);
    }
}

#[test]
fn keys_that_a_plugin_keeps_are_shown_as_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let payload = write(folder.path(), "payload", HARM.as_bytes());
    // It keeps the payload under the payload itself.
    let keeps = "(call $set (local.get $p) (local.get $n) (local.get $p) (local.get $n) (i32.const 512))";
    let guest = write(folder.path(), "guest.wasm", &guest::module(&[keeps, guest::NOTHING].concat()));
    let run = ["plugin", "run", guest.to_str().unwrap(), "--payload", payload.to_str().unwrap()];
    let said = say(&mut millpond(&run));
    is_plain(&said);
    assert!(said.out.contains(r"\u{1b}[2J"), "nothing of it was shown: {said:?}");
}

#[test]
fn the_reason_why_a_new_version_of_a_watched_file_is_refused_is_shown_as_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "guest.wasm", &fs::read(noop()).unwrap());
    let words = ["plugin", "run", file.to_str().unwrap(), "--watch"];
    let mut child = millpond(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for another version")));
    fs::write(&file, hostile()).unwrap();
    let refused = lines.find(|line| line.contains("the current version stays"));
    let _ = child.kill();
    let _ = child.wait();
    let said = Said { out: refused.unwrap(), err: String::new(), code: None };
    assert!(said.out.contains(r"it imports url=<\u{1b}"), "{said:?}");
    is_plain(&said);
}
