//! Jobs are exported and imported as lines of JSON.

use millpond::{Codec, JobFilter, NewJob, Payload, State};
use serde_json::Value;

use crate::pond::{Pond, at_both, empty, stocked};
use crate::tool::{Said, say};

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn import(pond: &Pond, export: &std::path::Path, more: &[&str]) -> Value {
    pond.json(&[&["import", export.to_str().unwrap()], more].concat())
}

#[test]
fn jobs_are_exported_a_line_each() {
    at_both(|pond| {
        let all = lines(&pond.does(&["export"]).out);
        assert_eq!(all.len(), 8);
        let first = all.iter().find(|job| job["id"] == "1").unwrap();
        assert_eq!(first["payload"]["json"], serde_json::json!({ "to": "a@example.org", "n": 1 }));
        assert_eq!(
            (&first["key"], &first["tags"][0], &first["state"]),
            (&"k".into(), &"tenant:7".into(), &"pending".into())
        );
        let done = all.iter().find(|job| job["id"] == "5").unwrap();
        assert_eq!(done["result"]["json"]["rows"], 12);
        let said = pond.does(&["export", "--state", "dead"]);
        assert_eq!((lines(&said.out).len(), said.err.as_str()), (3, "3 jobs were exported\n"));
        let path = pond.path("out.jsonl");
        let words = ["export", "--queue", "mail", "--output", path.to_str().unwrap()];
        assert_eq!(pond.does(&words).out, "");
        assert_eq!(lines(&std::fs::read_to_string(&path).unwrap()).len(), 4);
        pond.fails(&words, 1, "exists");
    });
}

#[test]
fn an_export_is_imported_without_the_jobs_that_had_ended() {
    at_both(|from| {
        let export = from.path("all.jsonl");
        from.does(&["export", "--output", export.to_str().unwrap()]);
        let to = empty();
        let told = import(&to, &export, &[]);
        assert_eq!((&told["stored"], &told["left_out"], &told["duplicates"]), (&4.into(), &4.into(), &0.into()));
        let again = import(&to, &export, &["--with-dead"]);
        assert_eq!((&again["stored"], &again["left_out"], &again["duplicates"]), (&6.into(), &1.into(), &1.into()));
        to.with(|pond| async move {
            let job = &pond.jobs(&JobFilter::new().unique_key("k"), None, 10).unwrap().jobs[0];
            assert_eq!(
                (job.max_attempts, &job.tags[..], job.headers["trace"].as_str()),
                (Some(3), &["tenant:7".to_owned()][..], "abc")
            );
            assert_eq!(pond.select(&JobFilter::new().state(State::Scheduled)).count().await.unwrap(), 2);
            assert_eq!(pond.select(&JobFilter::new().group("customer 9")).count().await.unwrap(), 4);
        });
    });
}

#[test]
fn an_import_makes_the_file_only_if_it_is_told_to() {
    let from = stocked();
    let export = from.path("all.jsonl");
    from.does(&["export", "--output", export.to_str().unwrap()]);
    let new = from.path("new.redb");
    let words = ["import", export.to_str().unwrap(), "--file", new.to_str().unwrap()];
    let said = say(&mut crate::tool::millpond(&words));
    assert!(said.code == Some(3) && said.err.contains("a file that exists") && !new.exists(), "{said:?}");
    let said = say(crate::tool::millpond(&words).arg("--create"));
    assert!(said.code == Some(0) && said.out.starts_with("4 jobs were stored"), "{said:?}");
}

/// A number that no type of a program has, and fields that are not in the order of their names.
const JSON: &str = r#"{"b":123456789012345678901234567890,"a":1.50}"#;

#[test]
fn bytes_are_imported_as_they_were_but_postcard_only_by_its_own_code() {
    let from = empty();
    from.with(|pond| async move {
        pond.enqueue("raw", NewJob::raw("bytes", &[0xff, 0, 0x1b][..])).await.unwrap();
        pond.enqueue("raw", NewJob::raw("text", "two\nlines")).await.unwrap();
        let json: Box<serde_json::value::RawValue> = serde_json::from_str(JSON).unwrap();
        pond.enqueue("raw", NewJob::json("json", &json)).await.unwrap();
    });
    let export = from.path("raw.jsonl");
    from.does(&["export", "--output", export.to_str().unwrap()]);
    let to = empty();
    assert_eq!(import(&to, &export, &[])["stored"], 3);
    to.with(|pond| async move {
        let payload = |kind: &str| pond.jobs(&JobFilter::new().kind(kind), None, 1).unwrap().jobs[0].payload.clone();
        assert_eq!(payload("json").bytes, JSON);
        assert_eq!(payload("bytes"), Payload::raw(vec![0xff, 0, 0x1b]));
        assert_eq!(payload("text"), Payload { codec: Codec::Raw, bytes: "two\nlines".into() });
    });
    let postcard = from.path("postcard.jsonl");
    let job = r#"{"id":"7","queue":"q","kind":"k","state":"pending","payload":{"postcard":"AA=="},"enqueued_at":"2026-01-01"}"#;
    std::fs::write(&postcard, job).unwrap();
    to.fails(&["import", postcard.to_str().unwrap()], 4, "only the code that has its type");
}

#[test]
fn an_import_that_fails_says_where_it_continues() {
    let to = empty();
    let job = r#"{"id":"7","queue":"q","kind":"k","state":"pending","payload":{"json":1},"enqueued_at":"2026-01-01"}"#;
    let export = to.path("broken.jsonl");
    std::fs::write(&export, format!("{}not a job\n{job}\n", format!("{job}\n").repeat(600))).unwrap();
    let said: Said = say(&mut to.command(&["import", export.to_str().unwrap()]));
    assert!(said.code == Some(2) && said.out.starts_with("500 jobs were stored"), "{said:?}");
    assert!(said.err.contains("line 601 is no job") && said.err.contains("`--skip 500`"), "{said:?}");
    std::fs::write(&export, format!("{job}\n").repeat(602)).unwrap();
    assert_eq!(import(&to, &export, &["--skip", "500"])["stored"], 102);
    assert_eq!(to.json(&["jobs", "--count"])["count"], 602);
}
