//! A file has an identity once it is asked for it, and a backup that is opened has another incarnation of it.

use millpond::{Millpond, NewJob};
use millpond_testkit::{Image, SimDisk, each_power_cut};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::support::*;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");

#[tokio::test]
async fn the_identity_is_random_and_stays_over_restarts_compaction_and_a_crash() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| Millpond::open(dir.path().join("file.redb")).unwrap();
    let (first, second) = (open(&one), open(&two));
    let identity = first.identity().await.unwrap();
    assert_eq!((identity.incarnation, first.identity().await.unwrap()), (0, identity));
    let other = second.identity().await.unwrap();
    assert_ne!(identity.id, other.id);
    assert!(identity.id.leading_zeros() < 64 && identity.id.trailing_zeros() < 64);
    assert_eq!(identity.to_string(), format!("{:032x}-0", identity.id));
    close(first).await;
    let first = open(&one);
    assert_eq!(first.identity().await.unwrap(), identity);
    close(first).await;
}

#[tokio::test]
async fn a_file_that_is_not_asked_has_no_identity_and_neither_has_its_backup() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    let copy = disk.dir.path().join("copy.redb");
    pond.backup(&copy).await.unwrap();
    close(pond).await;
    close(disk.builder().open(&copy).unwrap()).await;
    for path in [disk.path(), copy] {
        let db = Database::open(path).unwrap();
        let meta = db.begin_read().unwrap().open_table(META).unwrap();
        assert!(meta.get("identity").unwrap().is_none());
    }
}

#[tokio::test]
async fn each_opened_backup_has_the_next_incarnation_once() {
    let disk = OnDisk::new();
    let at = |name: &str| disk.dir.path().join(name);
    let pond = disk.open();
    let original = pond.identity().await.unwrap();
    pond.backup(at("first.redb")).await.unwrap();
    let first = Millpond::open(at("first.redb")).unwrap();
    first.backup(at("second.redb")).await.unwrap();
    let incarnation = |pond: &Millpond| {
        let identity = pond.identity().wait().unwrap();
        assert_eq!(identity.id, original.id);
        identity.incarnation
    };
    assert_eq!((incarnation(&first), incarnation(&pond)), (1, 0));
    let second = Millpond::open(at("second.redb")).unwrap();
    assert_eq!(incarnation(&second), 2);
    assert_sound(&second).await;
    close(second).await;
    let second = Millpond::open(at("second.redb")).unwrap();
    assert_eq!(incarnation(&second), 2, "it is a backup no more");
    // A copy by other means is not known to be one.
    close(first).await;
    std::fs::copy(at("first.redb"), at("third.redb")).unwrap();
    let third = Millpond::open(at("third.redb")).unwrap();
    assert_eq!(incarnation(&third), 1);
    assert_eq!(third.begin_incarnation(1).await.unwrap().incarnation, 2);
    assert_eq!(third.begin_incarnation(1).await.unwrap().incarnation, 2, "another one has found it out already");
}

#[tokio::test]
async fn a_handler_of_a_backup_sees_the_new_incarnation() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.identity().await.unwrap();
    pond.enqueue("q", NewJob::raw("k", "")).await.unwrap();
    let copy = disk.dir.path().join("copy.redb");
    pond.backup(&copy).await.unwrap();
    let restored = Millpond::open(copy).unwrap();
    let (seen, of) = (Log::new(), restored.clone());
    let log = seen.clone();
    let handler = move |_: millpond::Job<bytes::Bytes>| {
        let (log, of) = (log.clone(), of.clone());
        async move {
            log.push(of.identity().await?.incarnation);
            Ok(())
        }
    };
    restored.worker("q").handle_raw("k", handler).start().unwrap();
    drained(&restored).await;
    assert_eq!(seen.all(), [1]);
}

/// Whatever of the first opening is lost: the copy is still marked, or has its incarnation.
#[tokio::test]
async fn a_power_cut_while_a_backup_is_opened_raises_its_incarnation_once() {
    let dir = tempfile::tempdir().unwrap();
    let pond = Millpond::open(dir.path().join("file.redb")).unwrap();
    let id = pond.identity().await.unwrap().id;
    pond.enqueue("q", work(1)).await.unwrap();
    pond.backup(dir.path().join("copy.redb")).await.unwrap();
    let found = Image::new(std::fs::read(dir.path().join("copy.redb")).unwrap());
    let disk = SimDisk::holding(found.clone()).recorded();
    let open = |disk: SimDisk| Millpond::builder().open_backend(disk).unwrap();
    drop(open(disk.clone()));
    let log = disk.take_log();
    let mut cuts = 0;
    each_power_cut(found, &log, 7, |at, image| {
        let pond = open(SimDisk::holding(image));
        let identity = pond.identity().wait().unwrap();
        assert_eq!((identity.id, identity.incarnation), (id, 1), "cut at {at}");
        cuts += 1;
    });
    assert!(cuts > 10, "{cuts}");
}
