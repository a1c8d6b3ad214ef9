//! `verify()` checks every row against every other row that it belongs to, in both directions.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex};

use millpond::{Error, Millpond};
use redb::backends::InMemoryBackend;
use redb::{Database, Key, ReadableTable, StorageBackend, TableDefinition, Value};

use crate::quarantine::{Everything, Raw, Row, everything};
use crate::support::*;

/// Damages one row of a table, by its number. Returns false if there is no such row.
type Spoil = Box<dyn Fn(&Database, usize) -> bool>;

/// Row number `n` of a table: its key and its value as they are stored in the file.
fn row<K: Key + 'static, V: Value + Debug + 'static>(
    table: &impl ReadableTable<K, Raw<V>>,
    n: usize,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (key, value) = table.iter().unwrap().nth(n)?.unwrap();
    Some((K::as_bytes(&key.value()).as_ref().to_vec(), value.value().to_vec()))
}

fn removed<K: Key + 'static, V: Value + Debug + 'static>(name: &'static str) -> (&'static str, Spoil) {
    let spoil = move |db: &Database, n: usize| {
        let txn = db.begin_write().unwrap();
        let name = format!("millpond/{name}");
        let found = {
            let mut table = txn.open_table(TableDefinition::<K, Raw<V>>::new(&name)).unwrap();
            let found = row(&table, n);
            if let Some((key, _)) = &found {
                table.remove(K::from_bytes(key)).unwrap();
            }
            found.is_some()
        };
        txn.commit().unwrap();
        found
    };
    (name, Box::new(spoil))
}

/// Stores a row under another key too.
fn doubled<K: Key + 'static, V: Value + Debug + 'static>(
    name: &'static str,
    other: impl Fn(K::SelfType<'static>) -> K::SelfType<'static> + 'static,
) -> (&'static str, Spoil) {
    let spoil = move |db: &Database, n: usize| {
        let txn = db.begin_write().unwrap();
        let name = format!("millpond/{name}");
        let found = {
            let mut table = txn.open_table(TableDefinition::<K, Raw<V>>::new(&name)).unwrap();
            let found = row(&table, n);
            if let Some((key, value)) = &found {
                let other = other(K::from_bytes(key.clone().leak()));
                table.insert(other, value.as_slice()).unwrap();
            }
            found.is_some()
        };
        txn.commit().unwrap();
        found
    };
    (name, Box::new(spoil))
}

type Ready = (u32, u8, u64);
type Delayed = (u32, u8, u64, u64);
type Member = (u32, &'static str, u8, u64, u64);
type Ended = (u64, u32, &'static str);
type Head = (u64, u64, &'static str);

/// The problems that `verify()` reports for each file in which one row was damaged.
async fn after_each(
    whole: &Everything,
    (table, spoil): (&'static str, Spoil),
) -> Vec<(String, Result<Vec<String>, Error>)> {
    let mut said = Vec::new();
    for n in 0.. {
        let disk = whole.disk.after_kill();
        let db = Database::builder().create_with_backend(disk.clone()).unwrap();
        if !spoil(&db, n) {
            break;
        }
        drop(db);
        let problems = match Millpond::builder().clock(whole.clock()).seed(0).open_backend(disk) {
            Ok(pond) => pond.verify().await.map(|found| found.problems),
            Err(error) => Err(error),
        };
        said.push((format!("row {n} of {table}"), problems));
    }
    assert!(!said.is_empty(), "{table} has no rows");
    said
}

async fn is_noticed(whole: &Everything, spoil: (&'static str, Spoil)) {
    for (what, problems) in after_each(whole, spoil).await {
        match problems {
            Ok(problems) => assert!(!problems.is_empty(), "{what} is not noticed"),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_file_with_every_kind_of_row_verifies_without_findings() {
    let whole = everything().await;
    let pond = Millpond::builder().clock(whole.clock()).seed(0).open_backend(whole.disk.after_kill()).unwrap();
    assert_sound(&pond).await;
}

/// A lost start mark is an attempt that is not counted, and a lost bucket is a full one: no other row refers to them.
#[tokio::test]
async fn every_missing_row_is_found() {
    let whole = everything().await;
    for spoil in [
        removed::<&str, Row>("meta"),
        removed::<u32, Row>("queues"),
        removed::<u32, &str>("kinds"),
        removed::<Ready, Row>("ready"),
        removed::<Delayed, Row>("delayed"),
        removed::<Member, Row>("members"),
        removed::<Ready, Head>("heads"),
        removed::<(u32, &str), Row>("groups"),
        removed::<u64, Row>("index"),
        removed::<(u32, u64, u64), Row>("dead_letters"),
        removed::<Delayed, Row>("finished"),
        removed::<(u32, &str), Row>("unique"),
        removed::<Ended, ()>("unique_ended"),
    ] {
        is_noticed(&whole, spoil).await;
    }
}

#[tokio::test]
async fn every_row_stored_in_two_places_is_found() {
    let whole = everything().await;
    for spoil in [
        doubled::<Ready, Row>("ready", |(queue, priority, id)| (queue, (priority + 1) % 10, id)),
        doubled::<Ready, Row>("ready", |(queue, priority, id)| (queue + 1, priority, id)),
        doubled::<Ready, Row>("ready", |(queue, priority, id)| (queue, priority, id + 1_000)),
        doubled::<Delayed, Row>("delayed", |(queue, line, at, id)| (queue, line, at + 1, id)),
        doubled::<Delayed, Row>("delayed", |(queue, line, at, id)| (queue, 1 - line, at, id)),
        doubled::<Delayed, Row>("delayed", |(queue, line, at, id)| (queue + 1, line, at, id)),
        doubled::<Member, Row>("members", |(queue, group, parked, seq, id)| (queue, group, 1 - parked, seq, id)),
        doubled::<Member, Row>("members", |(queue, group, parked, seq, id)| (queue, group, parked, seq + 1_000, id)),
        doubled::<Member, Row>("members", |(queue, _, parked, seq, id)| (queue, "another", parked, seq, id)),
        doubled::<Ready, Head>("heads", |(queue, priority, turn)| (queue, priority, turn + 1_000)),
        doubled::<Ready, Head>("heads", |(queue, priority, turn)| (queue, (priority + 1) % 10, turn)),
        doubled::<(u32, &str), Row>("groups", |(queue, _)| (queue, "another")),
        doubled::<u64, Row>("index", |id| id + 1_000),
        doubled::<(u32, u64, u64), Row>("dead_letters", |(queue, at, id)| (queue, at + 1, id)),
        doubled::<Delayed, Row>("finished", |(queue, state, at, id)| (queue, state, at + 1, id)),
        doubled::<(u32, &str), Row>("unique", |(queue, _)| (queue, "another")),
        doubled::<Ended, ()>("unique_ended", |(until, queue, key)| (until + 1, queue, key)),
        doubled::<Ended, ()>("unique_ended", |(until, queue, _)| (until, queue, "another")),
    ] {
        is_noticed(&whole, spoil).await;
    }
}

/// The job of a group waits for its time, and nothing would ever tell the scheduler that the time has come.
#[tokio::test]
async fn a_verifying_open_refuses_a_file_with_a_lost_pointer() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", member("g", 1).delay(HOUR)).await.unwrap();
    close(pond).await;
    let (_, spoil) = removed::<Delayed, Row>("delayed");
    assert!(spoil(&Database::open(disk.path()).unwrap(), 0));
    match disk.builder().verify_on_open().open(disk.path()) {
        Err(Error::Inconsistent { problems, .. }) => {
            assert!(problems.iter().any(|problem| problem.contains("job 1")), "{problems:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// A disk in memory that blocks the thread that reads it to verify it.
#[derive(Clone, Debug, Default)]
struct Held {
    memory: Arc<InMemoryBackend>,
    reading: Arc<(Mutex<Reading>, Condvar)>,
}

#[derive(Debug, Default)]
struct Reading {
    has_begun: bool,
    may_go_on: bool,
}

impl Held {
    fn wait_for_reader(&self) {
        let (reading, changed) = &*self.reading;
        drop(changed.wait_while(reading.lock().unwrap(), |reading| !reading.has_begun).unwrap());
    }

    fn go_on(&self) {
        let (reading, changed) = &*self.reading;
        reading.lock().unwrap().may_go_on = true;
        changed.notify_all();
    }
}

impl StorageBackend for Held {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if std::thread::current().name() == Some("millpond-verify") {
            let (reading, changed) = &*self.reading;
            let mut reading = reading.lock().unwrap();
            reading.has_begun = true;
            changed.notify_all();
            drop(changed.wait_while(reading, |reading| !reading.may_go_on).unwrap());
        }
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn the_writer_commits_while_an_earlier_state_of_the_file_is_verified() {
    let disk = Held::default();
    let pond = Millpond::builder().cache_bytes(0).open_backend(disk.clone()).unwrap();
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    let verification = tokio::spawn(pond.verify());
    let reader = disk.clone();
    let begun = tokio::task::spawn_blocking(move || reader.wait_for_reader());
    tokio::time::timeout(SECOND * 20, begun).await.expect("it is the writer who reads").unwrap();
    for n in 100..110 {
        pond.enqueue("q", work(n)).await.unwrap();
    }
    assert!(!verification.is_finished());
    disk.go_on();
    let found = verification.await.unwrap().unwrap();
    assert_eq!((found.jobs, found.problems.len()), (100, 0), "as it was when it was asked");
    assert_eq!(pond.verify().await.unwrap().jobs, 110);
}

#[tokio::test]
async fn a_verification_gets_an_error_when_the_queue_closes() {
    let disk = Held::default();
    let pond = Millpond::builder().cache_bytes(0).open_backend(disk.clone()).unwrap();
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    let verification = tokio::spawn(pond.verify());
    let reader = disk.clone();
    tokio::task::spawn_blocking(move || reader.wait_for_reader()).await.unwrap();
    close(pond).await;
    disk.go_on();
    let found = verification.await.unwrap();
    assert!(matches!(found, Err(Error::Closed)), "{found:?}");
}
