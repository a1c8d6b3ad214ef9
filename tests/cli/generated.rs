//! Completions and man pages.

use crate::tool::{does, millpond, say};

#[test]
fn completions_are_printed_for_each_shell() {
    for (shell, word) in [("bash", "_millpond()"), ("zsh", "#compdef millpond"), ("fish", "complete -c millpond")] {
        does(&["completions", shell], &[word, "run-now"]);
    }
    assert_eq!(say(&mut millpond(&["completions", "tcsh"])).code, Some(2));
}

#[test]
fn a_man_page_is_made_for_each_command() {
    does(&["man"], &[".TH millpond 1", "Exit codes:"]);
    let folder = tempfile::tempdir().unwrap();
    does(&["man", folder.path().to_str().unwrap()], &[]);
    for page in ["millpond.1", "millpond-jobs.1", "millpond-dead-redrive.1", "millpond-plugin-run.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
}
