//! Commands that change something, on a file and on a process that has it open.

use std::io::Write;
use std::process::Stdio;

use crate::pond::{Pond, at_both};
use crate::tool::Said;

#[track_caller]
fn state(pond: &Pond, id: &str) -> String {
    pond.json(&["job", id])["state"].as_str().unwrap().to_owned()
}

#[test]
fn a_job_is_enqueued_with_all_its_options() {
    at_both(|pond| {
        let done = pond.json(&[
            "enqueue",
            "mail",
            "send",
            r#"{"to":"b@example.org"}"#,
            "--priority",
            "2",
            "--delay",
            "60s",
            "--group",
            "g",
            "--key",
            "k2",
            "--idempotency-key",
            "once",
            "--max-attempts",
            "5",
            "--tag",
            "a",
            "--tag",
            "b",
            "--header",
            "trace=x=y",
        ]);
        let id = done["id"].as_str().unwrap();
        let job = pond.json(&["job", id]);
        assert_eq!((&job["priority"], &job["group"], &job["key"]), (&2.into(), &"g".into(), &"k2".into()));
        assert_eq!(
            (&job["max_attempts"], &job["tags"][1], &job["headers"]["trace"]),
            (&5.into(), &"b".into(), &"x=y".into())
        );
        assert_eq!((&job["idempotency_key"], job["run_at"].is_string()), (&"once".into(), true));
        assert!(job["payload"]["text"].as_str().unwrap().contains("b@example.org"));
        let again = pond.json(&["enqueue", "mail", "send", "{}", "--idempotency-key", "once"]);
        assert_eq!((&again["id"], &again["changed"]), (&id.into(), &0.into()));
        assert!(pond.does(&["enqueue", "mail", "send"]).out.contains("is in queue mail"));
        pond.fails(&["enqueue", "mail", "send", "text"], 2, "not JSON");
        pond.fails(&["enqueue", "a queue", "send"], 2, "invalid queue name");
    });
}

#[test]
fn a_payload_is_read_from_the_standard_input() {
    at_both(|pond| {
        let mut command = pond.command(&["enqueue", "mail", "send", "-", "--json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{\"piped\":true}").unwrap();
        let said: Said = child.wait_with_output().unwrap().into();
        let done: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert!(pond.does(&["job", done["id"].as_str().unwrap()]).out.contains("piped"));
    });
}

#[test]
fn the_digits_of_a_payload_are_kept() {
    at_both(|pond| {
        let json = r#"{"b":123456789012345678901234567890,"a":1.50}"#;
        let id = pond.json(&["enqueue", "mail", "send", json])["id"].as_str().unwrap().to_owned();
        let text = pond.json(&["job", &id])["payload"]["text"].as_str().unwrap().to_owned();
        assert!(text.contains("123456789012345678901234567890") && text.contains("1.50"), "{text}");
    });
}

#[test]
fn queues_groups_kinds_and_schedules_are_paused_and_resumed() {
    at_both(|pond| {
        assert_eq!(pond.json(&["pause", "mail"])["changed"], 1);
        assert_eq!(pond.json(&["pause", "mail"])["changed"], 0);
        assert!(pond.does(&["queues"]).out.contains("paused"));
        for words in [
            &["resume", "mail"][..],
            &["pause", "mail", "--group", "customer 9"],
            &["resume", "mail", "--group", "customer 9"],
            &["pause", "mail", "--kind", "send"],
            &["resume", "mail", "--kind", "send"],
            &["pause", "--schedule", "daily"],
            &["resume", "--schedule", "daily"],
            &["pause", "--all"],
        ] {
            assert_eq!(pond.json(words)["changed"], 1, "{words:?}");
        }
        assert!(pond.does(&["stats"]).out.contains("all queues are paused"));
        assert_eq!(pond.json(&["resume", "--all"])["changed"], 1);
        pond.fails(&["pause", "nowhere"], 3, "there is no queue \"nowhere\"");
        pond.fails(&["pause"], 2, "");
    });
}

#[test]
fn jobs_are_cancelled_run_and_retried_by_their_ids_or_by_what_they_have() {
    at_both(|pond| {
        assert!(pond.does(&["run-now", "2"]).out.contains("due now"));
        assert_eq!(state(pond, "2"), "pending");
        assert!(
            pond.does(&["cancel", "1", "2", "--reason", "a duplicate", "--yes"]).out.contains("job 2 is cancelled")
        );
        assert_eq!(pond.json(&["job", "2"])["reason"], "a duplicate");
        assert_eq!(pond.json(&["cancel", "--group", "customer 9", "--yes"])["changed"], 2);
        assert!(pond.does(&["retry", "6"]).out.contains("new attempts"));
        assert_eq!(state(pond, "6"), "pending");
        let done = pond.json(&["retry", "--queue", "crm"]);
        assert_eq!((&done[0]["changed"], &done[1]["changed"]), (&2.into(), &0.into()));
        let id = pond.json(&["run-now", "--schedule", "daily"])["id"].as_str().unwrap().to_owned();
        assert_eq!(pond.json(&["job", &id])["kind"], "report");
        for verb in ["cancel", "retry", "run-now"] {
            pond.fails(&[verb], 2, "say which jobs");
            pond.fails(&[verb, "1", "--queue", "mail"], 2, "not both");
        }
        pond.fails(&["retry", "1"], 4, "cannot");
        pond.fails(&["retry", "999"], 3, "there is no job 999");
    });
}

#[test]
fn dead_letters_are_redriven_and_purged() {
    at_both(|pond| {
        assert_eq!(pond.json(&["dead", "redrive", "--error-group", "order # was refused"])["changed"], 2);
        assert_ne!(state(pond, "7"), "dead");
        pond.fails(&["dead", "purge", "7", "--yes"], 4, "not a dead letter");
        assert_eq!(pond.json(&["dead", "purge", "8", "--yes"])["changed"], 1);
        pond.fails(&["job", "8"], 3, "there is no job 8");
        assert_eq!(pond.json(&["dead", "purge", "--all", "--yes"])["changed"], 0);
        pond.fails(&["dead", "redrive"], 2, "say which jobs");
    });
}

#[test]
fn the_first_error_ends_a_command_and_what_was_done_is_told() {
    at_both(|pond| {
        let said = crate::tool::say(&mut pond.command(&["run-now", "2", "999"]));
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(said.out.contains("job 2 is due now") && said.err.contains("999"), "{said:?}");
    });
}
