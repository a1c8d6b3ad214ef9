//! Completions and man pages.

use crate::tool::{does, millpond, say};

#[test]
fn completions_are_printed_for_each_shell() {
    for (shell, word) in [("bash", "_millpond()"), ("zsh", "#compdef millpond"), ("fish", "complete -c millpond")] {
        does(&["completions", shell], &[word, "run-now", "ca-file", "follow"]);
    }
    assert_eq!(say(&mut millpond(&["completions", "tcsh"])).code, Some(2));
}

#[test]
fn a_man_page_is_made_for_each_command() {
    does(&["man"], &[".TH millpond 1", "Exit codes:"]);
    let folder = tempfile::tempdir().unwrap();
    does(&["man", folder.path().to_str().unwrap()], &[]);
    for page in
        ["millpond.1", "millpond-jobs.1", "millpond-dead-redrive.1", "millpond-stream-tail.1", "millpond-plugin-run.1"]
    {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let jobs = std::fs::read_to_string(folder.path().join("millpond-jobs.1")).unwrap();
    assert!(jobs.contains("ca\\-file"), "{jobs}");
}

#[test]
fn the_guide_names_each_command_and_each_exit_code() {
    let guide = std::fs::read_to_string(crate::tool::project("docs/guide/src/command-line.md")).unwrap();
    let help = say(&mut millpond(&["--help"])).out;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{help}");
    for name in names {
        assert!(guide.contains(&format!("`{name}")) || guide.contains(&format!("millpond {name}")), "{name}");
    }
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    for code in codes.filter_map(|line| line.split_whitespace().next()) {
        assert!(guide.contains(&format!("\n| {code} | ")), "{code}");
    }
}
