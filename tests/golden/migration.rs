//! The step from one version to the next, and a power cut in the midst of it.

use millpond::{JobId, Millpond, NewJob};
use redb::{Database, ReadableDatabase, TableDefinition, TableError};
use serde_json::{Value, json};

use crate::recorder::{Recorder, each_image};
use crate::support::{OnDisk, assert_sound, close};
use crate::{comparable, dump, dumped, open, stored, work_off};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");

/// Who holds which key of `v1/unique_keys` once it is brought up to version 2.
fn keys_of_v1() -> Value {
    json!([
        { "queue": 0, "key": "completed", "id": 13, "until": 0 },
        { "queue": 0, "key": "delayed", "id": 14, "until": 0 },
        { "queue": 0, "key": "member", "id": 10, "until": 0 },
        { "queue": 0, "key": "retrying", "id": 4, "until": 0 },
        { "queue": 0, "key": "same", "id": 6, "until": 0 },
        { "queue": 0, "key": "same-in-a-group", "id": 11, "until": 0 },
        { "queue": 0, "key": "snoozed", "id": 5, "until": 0 },
        { "queue": 1, "key": "same", "id": 9, "until": 0 },
    ])
}

#[tokio::test]
async fn of_jobs_with_the_same_key_the_oldest_that_has_not_ended_holds_it() {
    let disk = OnDisk::new();
    let pond = open(&disk, &stored(1, "unique_keys").0);
    assert_eq!(dumped(&pond).await["keys"], json!({ "held": keys_of_v1(), "ended": [] }));
    for key in keys_of_v1().as_array().unwrap() {
        let queue = if key["queue"] == 0 { "q" } else { "other" };
        let again = NewJob::raw("raw", "again").unique_key(key["key"].as_str().unwrap());
        assert_eq!(pond.enqueue(queue, again).await.unwrap(), JobId::new(key["id"].as_u64().unwrap()));
    }
    // Those that had ended hold nothing: no time was ever asked for.
    for key in ["dead", "discarded"] {
        let new = pond.enqueue("q", NewJob::raw("raw", "again").unique_key(key)).await.unwrap();
        assert!(new.get() > 15, "{key}");
    }
    // The younger ones with the key go on without it.
    pond.cancel(JobId::new(6), "the one that holds it").await.unwrap();
    let new = pond.enqueue("q", NewJob::raw("raw", "again").unique_key("same")).await.unwrap();
    assert!(new.get() > 15);
    assert_sound(&pond).await;
    close(pond).await;
}

/// The schema version on a disk, and its keys if it has the tables for them.
fn version_and_keys(disk: Recorder) -> (u8, Option<Value>) {
    let db = Database::builder().create_with_backend(disk).expect("every image opens");
    let read = db.begin_read().unwrap();
    let version = read.open_table(META).unwrap().get("schema").unwrap().unwrap().value()[5];
    let keys = match read.open_table(dump::UNIQUE) {
        Err(TableError::TableDoesNotExist(_)) => None,
        table => Some(dump::keys(&table.unwrap())),
    };
    (version, keys)
}

#[tokio::test]
async fn a_power_cut_in_the_steps_from_version_1_leaves_the_old_file_or_the_new_one() {
    for (feature, keys) in [("unique_keys", keys_of_v1()), ("killed", json!([])), ("groups", json!([]))] {
        let (bytes, expected) = stored(1, feature);
        let disk = Recorder::with(bytes.clone());
        let open = |disk: &Recorder| {
            let clock = millpond::testing::ManualClock::new();
            let builder = Millpond::builder().clock(clock.clone()).seed(0).cache_bytes(1 << 20);
            (builder.open_backend(disk.clone()).unwrap(), clock)
        };
        close(open(&disk).0).await;
        let mut images = Vec::new();
        each_image(&bytes, &disk.ops(), 7, |at, image| images.push((at, image)));
        let mut seen = [0, 0];
        for (n, (at, image)) in images.into_iter().enumerate() {
            let disk = Recorder::with(image);
            let found = version_and_keys(disk.clone());
            match found {
                (1, None) => seen[0] += 1,
                (3, Some(found)) if found == keys => seen[1] += 1,
                between => panic!("{feature}, operation {at}, image {n}: {between:?}"),
            }
            let (pond, clock) = open(&disk);
            let dump = comparable(dumped(&pond).await, &expected);
            assert!(dump == expected, "{feature}, operation {at}, image {n} holds {dump:#}");
            if n % 50 == 0 {
                work_off(&pond, &clock).await;
            }
            close(pond).await;
        }
        println!(
            "{feature}: {} operations, {} images as it was, {} as it is to be",
            disk.ops().len(),
            seen[0],
            seen[1]
        );
        assert!(seen[0] > 20 && seen[1] > 20, "both sides of the step are seen: {seen:?}");
    }
}
