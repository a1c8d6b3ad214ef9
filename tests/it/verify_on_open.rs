//! An open can verify the file before anything runs.

use std::fs;

use bytes::Bytes;
use millpond::testing::ManualClock;
use millpond::{Builder, Error, Job, Millpond, NewJob};
use redb::{Database, ReadableTable, TableDefinition};

use crate::quarantine::{Bit, Row, TABLES, everything, flip};
use crate::support::*;

fn raw(text: &'static str) -> NewJob {
    NewJob::raw("raw", Bytes::from_static(text.as_bytes()))
}

async fn three_jobs(disk: &OnDisk) {
    let pond = disk.open();
    pond.enqueue_many("q", [raw("first-payload"), raw("second-payload").delay(HOUR), raw("third-payload").group("g")])
        .await
        .unwrap();
    close(pond).await;
}

fn verified(disk: &OnDisk) -> Result<Millpond, Error> {
    disk.builder().verify_on_open().open(disk.path())
}

#[tokio::test]
async fn a_sound_file_opens_and_runs() {
    let disk = OnDisk::new();
    three_jobs(&disk).await;
    let pond = verified(&disk).unwrap();
    assert_eq!((pond.queue("q").unwrap().counts().unfinished(), pond.quarantined().unwrap()), (3, 0));
    // A file that a kill left is sound too.
    let copy = disk.dir.path().join("killed.redb");
    fs::copy(disk.path(), &copy).unwrap();
    let killed = disk.builder().verify_on_open().open(&copy).unwrap();
    assert_eq!(killed.queue("q").unwrap().counts().unfinished(), 3);
}

#[tokio::test]
async fn a_page_with_a_wrong_checksum_is_found_before_anything_runs() {
    let disk = OnDisk::new();
    three_jobs(&disk).await;
    let mut bytes = fs::read(disk.path()).unwrap();
    let at = bytes.windows(13).position(|window| window == b"first-payload").unwrap();
    bytes[at] ^= 1;
    fs::write(disk.path(), bytes).unwrap();
    match verified(&disk) {
        Err(Error::Corrupt { detail, hint, .. }) => assert!(!detail.is_empty() && !hint.is_empty()),
        other => panic!("{other:?}"),
    }
    // Without the verification the file opens, and the job is quarantined when it is read.
    let pond = disk.open();
    assert!(!pond.verify().await.unwrap().is_ok());
}

fn spoiled(disk: &OnDisk, spoil: impl FnOnce(&Database)) -> Builder {
    spoil(&Database::open(disk.path()).unwrap());
    disk.builder().verify_on_open()
}

#[tokio::test]
async fn an_unreadable_record_is_quarantined_before_anything_runs() {
    let disk = OnDisk::new();
    three_jobs(&disk).await;
    let builder = spoiled(&disk, |db| assert!(flip::<(u32, u8, u64, u64), Row>(db, "delayed", 0, Bit::TheLast)));
    let pond = builder.open(disk.path()).unwrap();
    assert_eq!((pond.quarantined().unwrap(), pond.metrics().quarantined_total), (1, 1));
    assert_eq!(pond.quarantine().list(0, 10).unwrap()[0].table, "delayed");
    assert_eq!(pond.queue("q").unwrap().counts().unfinished(), 2);
    assert_sound(&pond).await;
}

const INDEX: TableDefinition<u64, &[u8]> = TableDefinition::new("millpond/index");

#[tokio::test]
async fn a_readable_but_wrong_index_is_a_named_error() {
    let disk = OnDisk::new();
    three_jobs(&disk).await;
    let builder = spoiled(&disk, |db| {
        let txn = db.begin_write().unwrap();
        {
            let mut index = txn.open_table(INDEX).unwrap();
            let of_the_third = index.get(3).unwrap().unwrap().value().to_vec();
            index.insert(2, of_the_third.as_slice()).unwrap();
        }
        txn.commit().unwrap();
    });
    match builder.open(disk.path()) {
        Err(error @ Error::Inconsistent { .. }) => {
            assert!(error.to_string().contains("index"), "{error}");
            let Error::Inconsistent { problems, .. } = error else { unreachable!() };
            assert!(problems.iter().any(|problem| problem.contains("job 2")), "{problems:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.open().verify().await.unwrap().jobs, 3, "it still opens without the verification");
}

#[tokio::test]
async fn every_damaged_row_is_repaired_or_refused() {
    let whole = everything().await;
    for (table, flip) in TABLES {
        for n in 0.. {
            let disk = whole.disk.after_kill();
            let db = Database::builder().create_with_backend(disk.clone()).unwrap();
            if !flip(&db, table, n, Bit::OfTheChecksum) {
                break;
            }
            drop(db);
            let what = format!("row {n} of {table}");
            match Millpond::builder().clock(ManualClock::new()).verify_on_open().open_backend(disk) {
                Ok(pond) => {
                    let aside = pond.quarantine().list(0, 10).unwrap();
                    let is_all = aside.iter().all(|row| row.table == table) && aside.len() == 1;
                    assert!(is_all || ["kinds", "delayed"].contains(&table) && aside.is_empty(), "{what}: {aside:?}");
                    assert_eq!(pond.verify().await.unwrap().problems, Vec::<String>::new(), "{what}");
                }
                Err(Error::Corrupt { .. }) => assert!(["meta", "queues", "kinds"].contains(&table), "{what}"),
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn verification_on_open_works_on_the_applications_own_database() {
    let disk = OnDisk::new();
    three_jobs(&disk).await;
    let db = Database::open(disk.path()).unwrap();
    assert!(flip::<u64, Row>(&db, "index", 0, Bit::InTheMiddle));
    let pond = disk.builder().verify_on_open().attach(std::sync::Arc::new(db)).unwrap();
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .handle_raw("raw", move |job: Job<Bytes>| {
            seen.push(job.id().get());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    disk.clock.advance(HOUR);
    drained(&pond).await;
    let mut ran = log.all();
    ran.sort_unstable();
    assert_eq!((ran, pond.quarantined().unwrap()), (vec![1, 2, 3], 1));
}
