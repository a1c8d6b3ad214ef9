//! Limits, whole queues, the quarantine, events and any other change, on a file and on a process that has it open.

use redb::{Database, TableDefinition};
use serde_json::json;

use crate::pond::{at_both, stocked};

#[test]
fn limits_are_set_and_reset_one_by_one() {
    at_both(|pond| {
        pond.does(&["limits", "set", "mail", "--concurrency", "7", "--rate", "500/10s"]);
        pond.does(&["limits", "set", "mail", "--group-rate", "unlimited"]);
        let shown = pond.json(&["limits", "show", "mail"]);
        assert_eq!(
            shown["overrides"],
            json!({
                "concurrency": 7,
                "rate": { "limited": { "count": 500, "period_seconds": 10.0 } },
                "group_rate": "unlimited",
            })
        );
        let out = pond.does(&["limits", "show", "mail"]).out;
        assert!(out.contains("500 in 10.0s") && out.contains("unlimited"), "{out}");
        pond.does(&["limits", "reset", "mail", "--rate"]);
        assert_eq!(
            pond.json(&["limits", "show", "mail"])["overrides"],
            json!({ "concurrency": 7, "group_rate": "unlimited" })
        );
        pond.does(&["limits", "reset", "mail"]);
        assert_eq!(pond.json(&["limits", "show", "mail"])["overrides"], json!({}));
        pond.fails(&["limits", "set", "mail"], 2, "");
        pond.fails(&["limits", "set", "mail", "--rate", "many"], 2, "500/10s");
        pond.fails(&["limits", "set", "nowhere", "--concurrency", "1"], 3, "nowhere");
        pond.fails(&["limits", "units", "gpu", "2"], 2, "gpu");
    });
}

#[test]
fn a_queue_is_drained_renamed_and_removed() {
    at_both(|pond| {
        pond.fails(&["drain", "mail"], 6, "all 4 waiting jobs");
        assert_eq!(pond.json(&["drain", "mail", "--yes"])["changed"], 4);
        pond.does(&["rename", "mail", "post"]);
        pond.fails(&["queues", "mail"], 3, "mail");
        pond.fails(&["rename", "post", "crm"], 4, "crm");
        pond.fails(&["remove", "crm"], 6, "with all its 4 jobs");
        assert_eq!(pond.json(&["remove", "crm", "--yes"])["changed"], 4);
        let queues = pond.json(&["queues"]);
        assert_eq!((queues.as_array().unwrap().len(), &queues[0]["name"]), (1, &"post".into()));
    });
}

#[test]
fn any_change_is_made_that_the_api_knows() {
    at_both(|pond| {
        assert!(pond.does(&["act", r#"{"action":"release_key","queue":"mail","key":"k"}"#]).out.contains("is free"));
        let done = pond.json(&["act", r#"{"action":"update_schedule","name":"daily","change":{"at_most":3}}"#]);
        assert_eq!(done["changed"], 1);
        assert_eq!(pond.json(&["schedules", "daily"])["at_most"], 3);
        assert!(pond.does(&["act", r#"{"action":"check"}"#]).out.contains("nothing is wrong"));
        pond.fails(&["act", r#"{"action":"remove_schedule","name":"daily"}"#], 6, "remove schedule");
        pond.does(&["act", r#"{"action":"remove_schedule","name":"daily"}"#, "--yes"]);
        pond.fails(&["act", r#"{"action":"explode"}"#], 2, "explode");
        pond.fails(&["act", "{"], 2, "cannot be read");
    });
}

const READY: TableDefinition<'static, (u32, u8, u64), &[u8]> = TableDefinition::new("millpond/ready");

/// Replaces the record of job 1 by bytes that are none.
fn damage(file: &str) {
    use redb::ReadableTable;
    let database = Database::open(file).unwrap();
    let txn = database.begin_write().unwrap();
    {
        let mut rows = txn.open_table(READY).unwrap();
        let keys: Vec<_> = rows.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        let key = keys.into_iter().find(|key| key.2 == 1).unwrap();
        rows.insert(key, &[0xff; 3][..]).unwrap();
    }
    txn.commit().unwrap();
}

#[test]
fn a_row_that_cannot_be_read_is_shown_and_purged() {
    let pond = stocked();
    assert!(pond.does(&["quarantine", "list"]).out.contains("the quarantine is empty"));
    damage(&pond.file());
    assert_eq!(pond.json(&["jobs"])["jobs"].as_array().unwrap().len(), 7);
    let rows = pond.json(&["quarantine", "list"]);
    let number = rows[0]["number"].to_string();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["job"]), (1, &"1".into()));
    let shown = pond.does(&["quarantine", "show", &number]).out;
    assert!(shown.contains("mail") && shown.contains("3 bytes"), "{shown}");
    pond.fails(&["quarantine", "show", "999"], 3, "no row 999");
    pond.fails(&["quarantine", "restore", &number], 4, "");
    pond.fails(&["quarantine", "purge", &number], 6, "purge 1 row");
    assert_eq!(pond.json(&["quarantine", "purge", &number, "--yes"])["changed"], 1);
    pond.fails(&["quarantine", "purge", &number, "--yes"], 3, "no row");
}

#[cfg(unix)]
#[test]
fn events_are_told_as_they_happen_even_if_the_connection_ends_meanwhile() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use millpond::dashboard::{Listen, Options};

    let mut pond = stocked();
    let socket = pond.path("at.sock");
    pond.serve(Options::new(), Listen::Unix(socket));
    let mut command = pond.command(&["events", "--queue", "mail", "--event", "paused", "--times", "1", "--json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = std::thread::spawn(move || lines.next().unwrap().unwrap());
    // The program begins to listen at some time.
    while !told.is_finished() {
        pond.does(&["pause", "crm"]);
        pond.does(&["pause", "mail"]);
        pond.does(&["resume", "mail"]);
    }
    let event: serde_json::Value = serde_json::from_str(&told.join().unwrap()).unwrap();
    assert_eq!((&event["kind"], &event["queue"]), (&"paused".into(), &"mail".into()));
    assert!(child.wait().unwrap().success());
}
