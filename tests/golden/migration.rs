//! The step from one version to the next, and a power cut during it.

use millpond::testing;
use millpond::{JobId, Millpond, NewJob, State};
use millpond_testkit::{Image, SimDisk, each_power_cut};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};
use serde_json::{Value, json};

use crate::support::{HOUR, OnDisk, SECOND, assert_sound, close};
use crate::{comparable, dump, dumped, open, stored, work_off};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");

/// The job that holds each unique key of `v1/unique_keys` after the step to version 2.
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
async fn the_oldest_unfinished_job_holds_a_key_that_several_jobs_have() {
    let disk = OnDisk::new();
    let pond = open(&disk, &stored(1, "unique_keys").0);
    assert_eq!(dumped(&pond).await["keys"], json!({ "held": keys_of_v1(), "ended": [] }));
    for key in keys_of_v1().as_array().unwrap() {
        let queue = if key["queue"] == 0 { "q" } else { "other" };
        let again = NewJob::raw("raw", "again").unique_key(key["key"].as_str().unwrap());
        assert_eq!(pond.enqueue(queue, again).await.unwrap(), JobId::new(key["id"].as_u64().unwrap()));
    }
    // The jobs that had ended hold no key: no time was asked for.
    for key in ["dead", "discarded"] {
        let new = pond.enqueue("q", NewJob::raw("raw", "again").unique_key(key)).await.unwrap();
        assert!(new.id.get() > 15, "{key}");
    }
    // The younger jobs with the key continue without it.
    pond.cancel(JobId::new(6), "the one that holds it").await.unwrap();
    let new = pond.enqueue("q", NewJob::raw("raw", "again").unique_key("same")).await.unwrap();
    assert!(new.id.get() > 15);
    assert_sound(&pond).await;
    close(pond).await;
}

/// The schema version on a disk, its keys, and how many jobs expire, if it has the tables for them.
fn version_and_rows(disk: SimDisk) -> (u8, Option<Value>, Option<usize>) {
    let db = Database::builder().create_with_backend(disk).expect("every image opens");
    let read = db.begin_read().unwrap();
    let version = read.open_table(META).unwrap().get("schema").unwrap().unwrap().value()[5];
    let keys = match read.open_table(dump::UNIQUE) {
        Err(TableError::TableDoesNotExist(_)) => None,
        table => Some(dump::keys(&table.unwrap())),
    };
    let expiring = match read.open_table(dump::EXPIRING) {
        Err(TableError::TableDoesNotExist(_)) => None,
        table => Some(table.unwrap().len().unwrap() as usize),
    };
    (version, keys, expiring)
}

#[tokio::test]
async fn a_power_cut_in_the_steps_from_an_earlier_version_leaves_the_old_file_or_the_new_one() {
    let none = || json!([]);
    for (from, feature, keys, expiring) in [
        (1, "unique_keys", keys_of_v1(), 0),
        (1, "killed", none(), 0),
        (1, "groups", none(), 0),
        (3, "later", none(), 1),
        (3, "ended", none(), 0),
        (3, "killed", none(), 0),
    ] {
        let (bytes, expected) = stored(from, feature);
        let disk = SimDisk::holding(Image::new(bytes)).recorded();
        let before = disk.image();
        let open = |disk: &SimDisk| {
            let clock = millpond::testing::ManualClock::new();
            let builder = Millpond::builder().clock(clock.clone()).seed(0).cache_bytes(1 << 20);
            (builder.open_backend(disk.clone()).unwrap(), clock)
        };
        close(open(&disk).0).await;
        let mut images = Vec::new();
        let log = disk.take_log();
        each_power_cut(before, &log, 7, |at, image| images.push((at, image)));
        let mut seen = [0, 0];
        for (n, (at, image)) in images.into_iter().enumerate() {
            let disk = SimDisk::holding(image);
            let found = version_and_rows(disk.clone());
            match found {
                (1, None, None) if from == 1 => seen[0] += 1,
                (3, Some(_), None) if from == 3 => seen[0] += 1,
                (4, Some(found), Some(rows)) if found == keys && rows == expiring => seen[1] += 1,
                between => panic!("v{from}/{feature}, operation {at}, image {n}: {between:?}"),
            }
            let (pond, clock) = open(&disk);
            let dump = comparable(feature, dumped(&pond).await, &expected);
            assert!(dump == expected, "v{from}/{feature}, operation {at}, image {n} holds {dump:#}");
            if n % 50 == 0 {
                work_off(&pond, &clock).await;
            }
            close(pond).await;
        }
        println!(
            "v{from}/{feature}: {} operations, {} images as it was, {} as it is to be",
            log.len(),
            seen[0],
            seen[1]
        );
        assert!(seen[0] > 20 && seen[1] > 20, "both sides of the step are seen: {seen:?}");
    }
}

#[tokio::test]
async fn a_job_of_an_earlier_version_that_has_not_started_expires_by_the_wall_clock() {
    for schema in 1..=3 {
        let disk = OnDisk::new();
        let pond = open(&disk, &stored(schema, "later").0);
        let waits = JobId::new(3);
        let expires_at = pond.job(waits).unwrap().expires_at.unwrap();
        disk.clock.set_wall(expires_at - SECOND);
        dumped(&pond).await;
        assert_eq!(pond.job(waits).unwrap().state, State::Scheduled);
        disk.clock.set_wall(expires_at);
        dumped(&pond).await;
        assert_eq!(pond.job(waits).unwrap().reason.as_deref(), Some("expired"), "v{schema}");
        close(pond).await;
    }
}

const INDEX: TableDefinition<u64, &[u8]> = TableDefinition::new("millpond/index");
const DEAD_LETTERS: TableDefinition<(u32, u64, u64), &[u8]> = TableDefinition::new("millpond/dead_letters");
const FINISHED: TableDefinition<(u32, u8, u64, u64), &[u8]> = TableDefinition::new("millpond/finished");

/// A row with these bytes, which are not a job record.
fn row(content: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[1]);
    hasher.update(content);
    [&[1][..], &hasher.finalize().to_le_bytes(), content].concat()
}

/// A file of version 3 whose jobs ended while the wall clock had not been set.
fn ended_in_1970(feature: &str) -> Vec<u8> {
    let disk = OnDisk::new();
    std::fs::write(disk.path(), stored(3, feature).0).unwrap();
    let db = Database::open(disk.path()).unwrap();
    let txn = db.begin_write().unwrap();
    {
        let (mut dead, mut finished) = (txn.open_table(DEAD_LETTERS).unwrap(), txn.open_table(FINISHED).unwrap());
        let mut index = txn.open_table(INDEX).unwrap();
        let rows: Vec<_> =
            dead.iter().unwrap().map(|row| row.unwrap()).map(|(k, v)| (k.value(), v.value().to_vec())).collect();
        for ((queue, at, id), record) in rows {
            dead.remove((queue, at, id)).unwrap();
            dead.insert((queue, 100, id), record.as_slice()).unwrap();
            index.insert(id, row(&[queue as u8, 3, 100]).as_slice()).unwrap();
        }
        let rows: Vec<_> =
            finished.iter().unwrap().map(|row| row.unwrap()).map(|(k, v)| (k.value(), v.value().to_vec())).collect();
        for ((queue, state, at, id), record) in rows {
            finished.remove((queue, state, at, id)).unwrap();
            finished.insert((queue, state, 100, id), record.as_slice()).unwrap();
            index.insert(id, row(&[queue as u8, 4, state, 100]).as_slice()).unwrap();
        }
    }
    txn.commit().unwrap();
    drop(db);
    std::fs::read(disk.path()).unwrap()
}

#[tokio::test]
async fn jobs_that_ended_before_the_machine_knew_the_time_count_from_the_step_on() {
    for (feature, kept) in [("dead_letters", (0, 0, 5)), ("ended", (3, 4, 0))] {
        let disk = OnDisk::new();
        let pond = open(&disk, &ended_in_1970(feature));
        let ended = |pond: &Millpond| {
            let counts = pond.queues().into_iter().map(|queue| queue.counts());
            counts.fold((0, 0, 0), |(c, x, d), counts| (c + counts.completed, x + counts.cancelled, d + counts.dead))
        };
        assert_eq!(ended(&pond), kept, "{feature}");
        for _ in 0..3 {
            disk.clock.advance(HOUR);
            testing::drain(&pond).await;
            assert_sound(&pond).await;
        }
        assert_eq!(ended(&pond), kept, "{feature}: nothing is pruned");
        disk.clock.advance(HOUR * 24 * 181);
        testing::drain(&pond).await;
        disk.clock.advance(SECOND * 31);
        testing::drain(&pond).await;
        disk.clock.advance(SECOND * 31);
        testing::drain(&pond).await;
        assert_sound(&pond).await;
        // One queue keeps its ended jobs forever.
        assert_eq!(ended(&pond), if feature == "ended" { (2, 3, 0) } else { (0, 0, 0) });
        close(pond).await;
    }
}
