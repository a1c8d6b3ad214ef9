//! Files that earlier versions have written, one for each feature. Every run opens them and checks their contents, and
//! that their jobs can run to their end.
//!
//! `v1/<feature>.redb.gz` is a file as schema version 1 left it, `v1/<feature>.json` describes its contents. A new
//! schema version gets a directory of its own, and the old ones stay:
//!
//! ```text
//! cargo test --features wasm --test golden write_the_files_of_this_schema -- --ignored
//! ```
//!
//! writes the files of the present version ([`SCHEMA`]) that do not exist yet.

#[path = "../support/all_jobs.rs"]
mod all_jobs;
mod dump;
mod features;
#[cfg(feature = "wasm")]
#[path = "../plugins/guest.rs"]
mod guest;
mod migration;
#[path = "../support/scrambled.rs"]
mod scrambled;
#[path = "../support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use millpond::testing::{self, ManualClock};
use millpond::{Error, Job, Millpond};

use crate::features::{OF_PLUGINS, features_of};
use crate::support::{HOUR, OnDisk, assert_sound, close, settled};

/// The version that [`write_the_files_of_this_schema`] writes: the crate's own.
const SCHEMA: u32 = 4;

fn directory(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v{schema}"))
}

fn stored(schema: u32, feature: &str) -> (Vec<u8>, serde_json::Value) {
    let directory = directory(schema);
    let packed = File::open(directory.join(format!("{feature}.redb.gz"))).expect("it is in the repository");
    let dump = fs::read(directory.join(format!("{feature}.json"))).expect("it is in the repository");
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("it was packed");
    (bytes, serde_json::from_slice(&dump).expect("it is JSON"))
}

/// Opens a copy of a file, with a clock that shows the time at which the clock of its writer began.
fn open(disk: &OnDisk, bytes: &[u8]) -> Millpond {
    fs::write(disk.path(), bytes).unwrap();
    reopen(disk)
}

/// Opens the file, with its payload codec if it has one.
fn reopen(disk: &OnDisk) -> Millpond {
    match disk.builder().open(disk.path()) {
        Err(Error::OtherPayloadCodec { .. }) => {
            disk.builder().payload_codec(features::scrambled()).open(disk.path()).unwrap()
        }
        opened => opened.unwrap(),
    }
}

async fn dumped(pond: &Millpond) -> serde_json::Value {
    settled(pond).await;
    assert_sound(pond).await;
    dump::dump(pond).await
}

/// Changes a dump to what the version that wrote `expected` could have made.
fn comparable(feature: &str, mut dump: serde_json::Value, expected: &serde_json::Value) -> serde_json::Value {
    if let (Some(fields), Some(known)) = (dump.as_object_mut(), expected.as_object()) {
        fields.retain(|field, _| known.contains_key(field));
    }
    if feature == "killed" {
        // Recovery writes records again, with the length that they have in this version.
        for (queue, expected) in
            dump["queues"].as_array_mut().unwrap().iter_mut().zip(expected["queues"].as_array().unwrap())
        {
            queue["counts"]["bytes"] = expected["counts"]["bytes"].clone();
        }
    }
    dump
}

/// Resumes everything and runs it until every job has ended.
async fn work_off(pond: &Millpond, clock: &ManualClock) {
    let (unfinished, ended) = totals(pond);
    pond.resume().await.unwrap();
    for queue in pond.queues() {
        let mut worker = pond.worker(queue.name()).no_timeout();
        for kind in features::KINDS {
            worker = worker.handle_raw(kind, |_: Job<Bytes>| async { Ok(()) });
        }
        worker.start().unwrap();
        queue.resume().await.unwrap();
        for kind in features::KINDS {
            queue.resume_kind(kind).await.unwrap();
        }
        // Twice: a group can be paused, and held by a dead letter.
        for group in features::GROUPS.into_iter().chain(features::GROUPS) {
            queue.resume_group(group).await.unwrap();
        }
    }
    for _ in 0..100 {
        testing::drain(pond).await;
        if totals(pond).0 == 0 {
            break;
        }
        clock.advance(HOUR);
    }
    assert_sound(pond).await;
    assert_eq!(totals(pond), (0, ended + unfinished), "everything ends, once");
}

/// How many jobs have not ended, and how many have.
fn totals(pond: &Millpond) -> (u64, u64) {
    let counts = pond.queues().into_iter().map(|queue| queue.counts());
    counts.fold((0, 0), |(unfinished, ended), counts| {
        let over = counts.completed_total + counts.cancelled_total + counts.dead_total;
        (unfinished + counts.unfinished(), ended + over)
    })
}

#[tokio::test]
async fn every_file_of_an_earlier_version_keeps_its_contents_and_its_jobs_run_to_their_end() {
    for schema in 1..=SCHEMA {
        for feature in features_of(schema) {
            let (bytes, expected) = stored(schema, feature);
            let disk = OnDisk::new();
            let pond = open(&disk, &bytes);
            let found = comparable(feature, dumped(&pond).await, &expected);
            let text = |value| serde_json::to_string_pretty(value).unwrap();
            assert!(found == expected, "v{schema}/{feature} holds {}\nexpected {}", text(&found), text(&expected));
            work_off(&pond, &disk.clock).await;
            close(pond).await;
            assert_eq!(totals(&reopen(&disk)).0, 0, "v{schema}/{feature}, opened again");
        }
    }
}

#[tokio::test]
async fn a_file_made_today_has_the_contents_of_the_stored_file_of_this_version() {
    for feature in features_of(SCHEMA).filter(|&feature| feature != OF_PLUGINS || cfg!(feature = "wasm")) {
        let made = made(feature).await;
        let disk = OnDisk::new();
        let found = dumped(&open(&disk, &made)).await;
        assert!(found == stored(SCHEMA, feature).1, "{feature} is made differently: {found:#}");
    }
}

async fn made(feature: &str) -> Vec<u8> {
    tokio::time::timeout(Duration::from_secs(60), features::make(feature)).await.expect("it does not hang")
}

#[tokio::test]
#[ignore = "writes into the repository: run it by name after raising the schema version"]
async fn write_the_files_of_this_schema() {
    let directory = directory(SCHEMA);
    fs::create_dir_all(&directory).unwrap();
    for feature in features_of(SCHEMA) {
        let file = directory.join(format!("{feature}.redb.gz"));
        if file.exists() {
            println!("{} exists: the files of a version are written once", file.display());
            continue;
        }
        let bytes = made(feature).await;
        let disk = OnDisk::new();
        let dump = dumped(&open(&disk, &bytes)).await;
        let mut packed = GzEncoder::new(File::create(&file).unwrap(), Compression::best());
        packed.write_all(&bytes).unwrap();
        let packed = packed.finish().unwrap().metadata().unwrap();
        println!("{feature}: {} bytes, packed {}", bytes.len(), packed.len());
        let text = serde_json::to_string_pretty(&dump).unwrap() + "\n";
        fs::write(directory.join(format!("{feature}.json")), text).unwrap();
    }
}
