//! The file as a whole: it is checked, copied and compacted.

use crate::pond::{at_both, stocked};
use crate::tool::{millpond, say};

#[test]
fn a_file_is_checked() {
    at_both(|pond| {
        assert_eq!(pond.json(&["verify"])["jobs"], 8);
        assert_eq!(pond.does(&["verify"]).out, "8 jobs were checked, and nothing is wrong\n");
    });
}

#[test]
fn a_copy_of_the_file_is_made_that_can_be_opened() {
    at_both(|pond| {
        let copy = pond.path("copy.redb");
        let told = pond.json(&["backup", copy.to_str().unwrap()]);
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("8 jobs were checked, and nothing is wrong"), "{message}");
        let said = say(&mut millpond(&["jobs", "--count", "--file", copy.to_str().unwrap()]));
        assert_eq!(said.out, "8\n", "{said:?}");
        pond.fails(&["backup", copy.to_str().unwrap()], 4, "could not back up");
    });
}

#[test]
fn a_copy_is_made_in_the_directory_of_whoever_asks() {
    at_both(|pond| {
        let folder = tempfile::tempdir().unwrap();
        let said = say(pond.command(&["backup", "here.redb"]).current_dir(folder.path()));
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(folder.path().join("here.redb").exists());
    });
}

#[test]
fn a_compacted_file_is_smaller_and_sound() {
    let pond = stocked();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // It does not compact its file itself when it is closed.
        let large = millpond::Millpond::builder().compaction(false).open(pond.file()).unwrap();
        let payload = "x".repeat(10_000);
        large.enqueue_many("large", (0..500).map(|_| millpond::NewJob::json("large", &payload))).await.unwrap();
        large.queue("large").unwrap().obliterate().await.unwrap();
        large.shutdown(std::time::Duration::from_secs(60)).await.unwrap();
    });
    let size = || std::fs::metadata(pond.file()).unwrap().len();
    let before = size();
    assert!(pond.does(&["compact"]).out.starts_with("the file had "));
    assert!(size() < before, "{before} before, {} after", size());
    assert_eq!(pond.json(&["compact"])["changed"], 1);
    assert_eq!(pond.json(&["verify"])["problems"], serde_json::json!([]));
    assert_eq!(pond.json(&["jobs", "--count"])["count"], 8);
}

#[cfg(unix)]
#[test]
fn a_process_that_has_the_file_compacts_it_itself() {
    use millpond::dashboard::{Listen, Options};

    let mut pond = stocked();
    let socket = pond.path("at.sock");
    pond.serve(Options::new(), Listen::Unix(socket));
    assert!(pond.does(&["compact"]).out.starts_with("the file had "));
    assert_eq!(pond.json(&["stats"])["storage"]["compactions"], 1);
}

#[test]
fn the_disk_is_measured_and_nothing_is_left_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let said = say(&mut millpond(&["bench", path, "--seconds", "1", "--json"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    for name in ["fsyncs_per_second", "enqueue_alone_per_second", "enqueue_by_64_per_second", "drain_per_second"] {
        assert!(told[name].as_f64().unwrap() > 0.0, "{name}: {told}");
    }
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    let said = say(&mut millpond(&["bench", "/no/such/directory"]));
    assert!(said.code == Some(1) && said.err.contains("/no/such/directory"), "{said:?}");
}
