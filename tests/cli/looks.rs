//! Commands that change nothing, on a file and on a process that has it open.

use crate::pond::{at_both, empty, stocked};

/// The lines with one space between words: columns are as wide as their widest cells.
fn spaced(out: &str) -> String {
    out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn stats_show_everything_at_a_glance() {
    at_both(|pond| {
        let stats = pond.json(&["stats"]);
        assert_eq!(
            (&stats["schedules"], &stats["quarantined"], &stats["is_paused"]),
            (&1.into(), &0.into(), &false.into())
        );
        let out = spaced(&pond.does(&["stats"]).out);
        for line in ["state in order", "pending 3", "scheduled 1", "dead 3", "queues 2"] {
            assert!(out.lines().any(|told| told == line), "no {line:?} in {out}");
        }
    });
}

#[test]
fn queues_are_listed_and_one_is_shown_with_its_groups() {
    at_both(|pond| {
        let queues = pond.json(&["queues"]);
        assert_eq!((&queues[0]["name"], &queues[1]["counts"]["pending"]), (&"crm".into(), &3.into()));
        let out = pond.does(&["queues"]).out;
        assert!(out.lines().count() == 3 && out.contains("no worker here"), "{out}");
        let mail = pond.json(&["queues", "mail"]);
        assert_eq!(mail["groups"]["groups"][0]["name"], "customer 9");
        let out = spaced(&pond.does(&["queues", "mail"]).out);
        assert!(out.contains("\npending 3\n") && out.contains("customer 9"), "{out}");
    });
}

#[test]
fn jobs_are_found_by_what_they_have() {
    at_both(|pond| {
        for (words, found) in [
            (&[][..], 8),
            (&["--queue", "mail"], 4),
            (&["--state", "dead"], 3),
            (&["--kind", "work", "--state", "completed"], 1),
            (&["--group", "customer 9"], 2),
            (&["--key", "k"], 1),
            (&["--tag", "tenant:7"], 1),
            (&["--payload", "example.org"], 1),
            (&["--where", "/n=3"], 2),
            (&["--where", "/to=a@example.org"], 1),
            (&["--error", "refused"], 2),
            (&["--since", "1h"], 8),
            (&["--until", "1h"], 0),
            (&["--queue", "nowhere"], 0),
            (&["--limit", "3"], 3),
        ] {
            let jobs = pond.json(&[&["jobs"], words].concat());
            assert_eq!(jobs["jobs"].as_array().unwrap().len(), found, "{words:?}");
            assert_eq!(jobs["has_more"].as_bool(), Some(words.first() == Some(&"--limit")), "{words:?}");
            if words.first() != Some(&"--limit") {
                assert_eq!(pond.json(&[&["jobs", "--count"], words].concat())["count"], found, "{words:?}");
            }
        }
        let out = pond.does(&["jobs", "--queue", "crm", "--state", "dead"]).out;
        assert!(out.contains("order 1 was refused") && out.lines().count() == 4, "{out}");
        assert_eq!(pond.does(&["jobs", "--queue", "nowhere"]).out, "no job matches\n");
        assert_eq!(pond.does(&["jobs", "--count"]).out, "8\n");
        assert!(pond.does(&["jobs", "-n", "2"]).out.contains("and more"));
    });
}

#[test]
fn a_job_is_shown_with_the_reason_why_it_does_not_run() {
    at_both(|pond| {
        let job = pond.json(&["job", "1"]);
        assert_eq!((&job["kind"], &job["why"]["reason"]), (&"send".into(), &"NoHandler".into()));
        let out = spaced(&pond.does(&["job", "2"]).out);
        assert!(out.contains("\nwhy it is not due for another"), "{out}");
        let out = pond.does(&["job", "6"]).out;
        assert!(out.contains("Error: order 1 was refused") && out.contains("\"n\": 1"), "{out}");
        let out = pond.does(&["job", "5"]).out;
        assert!(out.contains("result") && out.contains("\"rows\": 12"), "{out}");
    });
}

#[test]
fn dead_letters_are_listed_by_their_errors() {
    at_both(|pond| {
        let dead = pond.json(&["dead", "list"]);
        assert_eq!((&dead["total"], &dead["groups"][0]["error"]), (&3.into(), &"order # was refused".into()));
        let out = pond.does(&["dead", "list", "--queue", "crm"]).out;
        assert!(out.contains("order # was refused") && out.contains("no such customer"), "{out}");
        assert_eq!(pond.does(&["dead", "list", "--queue", "mail"]).out, "there are no dead letters\n");
        assert_eq!(pond.json(&["dead", "show", "6"])["state"], "dead");
    });
}

#[test]
fn schedules_are_listed_and_one_is_shown_with_its_next_runs() {
    at_both(|pond| {
        assert_eq!(pond.json(&["schedules"])[0]["name"], "daily");
        let out = pond.does(&["schedules"]).out;
        assert!(out.contains("every 86400s") && out.contains("in 24.0h"), "{out}");
        assert_eq!(pond.json(&["schedules", "daily"])["upcoming"].as_array().unwrap().len(), 10);
        assert_eq!(pond.does(&["schedules", "daily"]).out.matches("next run").count(), 10);
    });
}

#[test]
fn top_prints_lines_of_json_where_there_is_no_terminal() {
    at_both(|pond| {
        let said = pond.does(&["top", "--json", "--times", "2", "--every", "1ms"]);
        let looks: Vec<serde_json::Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((looks.len(), &looks[1]["queues"][0]["name"]), (2, &"crm".into()));
        pond.fails(&["top"], 2, "needs a terminal");
    });
}

#[test]
fn an_empty_file_is_no_error() {
    let pond = empty();
    assert!(pond.does(&["queues"]).out.starts_with("there are no queues"));
    assert_eq!(pond.does(&["schedules"]).out, "there are no schedules\n");
    assert_eq!(pond.does(&["export"]).out, "");
    assert!(pond.does(&["verify"]).out.starts_with("0 jobs were checked"));
}

#[test]
fn without_a_terminal_nothing_is_coloured() {
    let pond = stocked();
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")] {
        let mut command = pond.command(&["queues"]);
        let said: crate::tool::Said = command.env(name, value).output().unwrap().into();
        assert!(!said.out.contains('\u{1b}') && said.code == Some(0), "{said:?}");
    }
}

#[test]
fn jobs_are_listed_in_both_orders() {
    at_both(|pond| {
        let ids = |words: &[&str]| -> Vec<String> {
            let jobs = pond.json(&[&["jobs"], words].concat());
            jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
        };
        let reversed = |ids: Vec<String>| ids.into_iter().rev().collect::<Vec<_>>();
        assert_eq!(ids(&["--newest", "--queue", "mail"]), reversed(ids(&["--queue", "mail"])));
        pond.does(&["enqueue", "mail", "send", "{}"]);
        assert_eq!(ids(&["--newest"]), ["9", "8", "7", "6", "5", "4", "3", "2", "1"]);
        assert_eq!(ids(&["--newest", "--limit", "2"])[..], ids(&["--newest"])[..2]);
        assert_eq!(ids(&["--state", "dead"]), reversed(ids(&["--state", "dead", "--oldest"])));
        pond.fails(&["jobs", "--newest", "--oldest"], 2, "");
    });
}
