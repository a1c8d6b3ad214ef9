//! Exit codes, and errors that say what to do.

use std::process::Stdio;

use millpond::redb;

use crate::pond::{empty, stocked};
use crate::tool::{Said, millpond, say};

#[track_caller]
fn fails(words: &[&str], code: i32, says: &str) {
    let said = say(&mut millpond(words));
    assert!(said.code == Some(code) && said.err.contains(says), "{words:?}: {said:?}");
    assert!(!said.err.contains("panicked"), "{said:?}");
}

#[test]
fn the_help_lists_the_exit_codes_and_each_command() {
    let said = say(&mut millpond(&["--help"]));
    for word in ["Exit codes:", "5  the queue cannot be reached", "run-now", "completions", "plugin", "export"] {
        assert!(said.out.contains(word), "no {word:?} in {}", said.out);
    }
}

#[test]
fn a_command_without_a_place_says_how_to_name_one() {
    fails(&["stats"], 2, "`--file PATH`");
    fails(&["stats", "--file", "a", "--url", "http://b"], 2, "cannot be used with");
    fails(&["jobs", "--file", "a", "--state", "gone"], 2, "pending, scheduled");
}

#[test]
fn a_file_that_is_not_there_is_not_made() {
    let pond = empty();
    let path = pond.path("other.redb");
    fails(&["stats", "--file", path.to_str().unwrap()], 3, "give the path of a file that exists");
    assert!(!path.exists());
}

#[test]
fn a_file_of_something_else_is_refused() {
    let pond = empty();
    let path = pond.path("other.redb");
    drop(redb::Database::create(&path).unwrap());
    fails(&["stats", "--file", path.to_str().unwrap()], 4, "is not a Millpond file");
    let path = pond.path("text");
    std::fs::write(&path, "no database at all, but long enough to be looked at".repeat(100)).unwrap();
    let said = say(&mut millpond(&["stats", "--file", path.to_str().unwrap()]));
    assert!(matches!(said.code, Some(1 | 4)) && !said.err.contains("panicked"), "{said:?}");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let pond = stocked();
    for words in [&["jobs"][..], &["export"], &["top", "--json", "--every", "1ms"]] {
        let mut command = pond.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said: Said = child.wait_with_output().unwrap().into();
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}: {said:?}");
    }
    assert_eq!(pond.json(&["verify"])["problems"], serde_json::json!([]));
}

#[test]
fn what_does_not_exist_has_code_3_and_what_does_not_fit_has_code_4() {
    let pond = stocked();
    pond.fails(&["job", "999"], 3, "there is no job 999");
    pond.fails(&["queues", "nowhere"], 3, "there is no queue");
    pond.fails(&["schedules", "never"], 3, "there is no schedule");
    pond.fails(&["run-now", "5"], 4, "it is completed");
    pond.fails(&["job", "seven"], 2, "not a job id");
}
