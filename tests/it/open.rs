//! The states that a file can be in, and how an open answers each. Nothing is lost, nothing panics.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use millpond::{Error, Job, Millpond, NewJob, State};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::support::*;

const APP: TableDefinition<u64, &str> = TableDefinition::new("app");

fn open_of(bytes: &[u8]) -> (tempfile::TempDir, Result<Millpond, Error>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.redb");
    fs::write(&path, bytes).unwrap();
    let opened = Millpond::open(&path);
    assert_eq!(fs::read(&path).unwrap(), bytes, "the file is left as it is");
    (dir, opened)
}

#[tokio::test]
async fn text_random_bytes_and_sqlite_files_are_refused() {
    let random: Vec<u8> = (0..10_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut sqlite = b"SQLite format 3\0".to_vec();
    sqlite.resize(4_096, 0);
    let files: [&[u8]; 5] = [b"r", b"redb", b"just some text, longer than a magic number", &random, &sqlite];
    for bytes in files {
        let (dir, opened) = open_of(bytes);
        match opened {
            Err(Error::NotAMillpond { path, .. }) => assert_eq!(path, dir.path().join("file.redb")),
            other => panic!("{} bytes: {other:?}", bytes.len()),
        }
    }
}

#[tokio::test]
async fn an_empty_file_is_refused_by_name_and_says_what_to_do() {
    let (dir, opened) = open_of(b"");
    let error = opened.unwrap_err();
    assert!(matches!(&error, Error::EmptyFile { path, .. } if *path == dir.path().join("file.redb")), "{error:?}");
    assert!(error.to_string().contains("remove it"), "{error}");
    fs::remove_file(dir.path().join("file.redb")).unwrap();
    Millpond::open(dir.path().join("file.redb")).unwrap();
}

fn foreign(path: &Path) {
    let db = Database::create(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(APP).unwrap().insert(1, "row").unwrap();
    txn.commit().unwrap();
}

#[tokio::test]
async fn an_applications_own_redb_file_is_refused_unless_adopting_it_is_allowed() {
    let disk = OnDisk::new();
    foreign(&disk.path());
    assert!(matches!(Millpond::open(disk.path()), Err(Error::NotAMillpond { .. })));
    let pond = disk.builder().adopt().open(disk.path()).unwrap();
    pond.transaction(|tx| {
        tx.open_table(APP)?.insert(2, "more")?;
        Ok(tx.enqueue("q", work(1))?)
    })
    .await
    .unwrap();
    close(pond).await;
    let pond = disk.open();
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1);
    let rows = pond.begin_read().unwrap().open_table(APP).unwrap().iter().unwrap().count();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn a_queue_can_use_the_applications_own_database() {
    let disk = OnDisk::new();
    foreign(&disk.path());
    let db = Arc::new(Database::open(disk.path()).unwrap());
    let pond = disk.builder().attach(db.clone()).unwrap();
    let ran = record(&pond, "q", 1);
    pond.enqueue("q", work(1)).await.unwrap();
    drained(&pond).await;
    assert_eq!(ran.all(), [1]);
    let txn = db.begin_write().unwrap();
    txn.open_table(APP).unwrap().insert(3, "the app's own write").unwrap();
    txn.commit().unwrap();
    pond.enqueue("later", work(2)).await.unwrap();
    close(pond).await;
    assert_eq!(db.begin_read().unwrap().open_table(APP).unwrap().iter().unwrap().count(), 2, "it is still open");
    let pond = disk.builder().attach(db).unwrap();
    assert_eq!(pond.queue("later").unwrap().counts().pending, 1);
}

#[tokio::test]
async fn a_directory_a_missing_parent_and_an_unwritable_directory_are_io_errors() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/place.redb");
    for path in [dir.path(), &missing, Path::new("/proc/millpond.redb")] {
        match Millpond::open(path) {
            Err(error @ Error::Io { .. }) => {
                let Error::Io { operation, path: named, .. } = &error else { unreachable!() };
                assert_eq!((named.as_path(), operation.is_empty()), (path, false));
                assert!(std::error::Error::source(&error).is_some());
            }
            other => panic!("{}: {other:?}", path.display()),
        }
    }
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "no file is left");
}

#[tokio::test]
async fn a_read_only_file_is_an_io_error_or_opens() {
    use std::os::unix::fs::PermissionsExt;
    let disk = OnDisk::new();
    drop(disk.open());
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o400)).unwrap();
    // A superuser is able to write it all the same.
    match Millpond::open(disk.path()) {
        Ok(_) => assert!(fs::OpenOptions::new().write(true).open(disk.path()).is_ok()),
        Err(Error::Io { path, .. }) => assert_eq!(path, disk.path()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_opened_twice_is_refused_as_already_open() {
    let disk = OnDisk::new();
    let pond = disk.open();
    assert!(matches!(disk.builder().open(disk.path()), Err(Error::AlreadyOpen { path, .. }) if path == disk.path()));
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    disk.open();
}

const CHILD: &str = "MILLPOND_TEST_OPEN_IN_CHILD";

/// Run by the test below in a process of its own.
#[tokio::test]
async fn child_that_opens_a_file() {
    let Ok(path) = std::env::var(CHILD) else { return };
    match Millpond::open(&path) {
        Err(Error::AlreadyOpen { path: named, .. }) if named == Path::new(&path) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_file_opened_by_another_process_is_refused_as_already_open() {
    let disk = OnDisk::new();
    let _pond = disk.open();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "open::child_that_opens_a_file"])
        .env(CHILD, disk.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

async fn some_file() -> Vec<u8> {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    pond.enqueue_many("q", (0..100).map(|n| member(&format!("g{}", n % 7), n))).await.unwrap();
    close(pond).await;
    fs::read(disk.path()).unwrap()
}

#[tokio::test]
async fn a_truncated_file_is_corrupt_and_is_never_recreated() {
    let whole = some_file().await;
    for keep in [10, 100, 512, 4_096, whole.len() / 4, whole.len() / 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.redb");
        fs::write(&path, &whole[..keep]).unwrap();
        match Millpond::open(&path) {
            Err(Error::Corrupt { detail, hint, .. }) => {
                assert!(detail.contains("file.redb") && !hint.is_empty(), "{detail}");
            }
            other => panic!("{keep} of {} bytes: {other:?}", whole.len()),
        }
        assert!(fs::metadata(&path).unwrap().len() > 0);
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_never_panics_and_is_never_silently_wrong() {
    let whole = some_file().await;
    // The flipped bits are where something is written: most of the file is empty.
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    for n in 0..12 {
        let mut bytes = whole.clone();
        let at = written[n * written.len() / 12];
        bytes[at] ^= 1 << (n % 8);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.redb");
        fs::write(&path, &bytes).unwrap();
        let Ok(pond) = Millpond::open(&path) else { continue };
        let (log, seen) = (Log::new(), Log::new());
        let (plain, grouped) = (log.clone(), seen.clone());
        pond.worker("q")
            .handle(move |job: Job<Work>| {
                match job.group() {
                    None => plain.push(job.n),
                    Some(group) => grouped.push((group.to_owned(), job.n)),
                }
                async { Ok(()) }
            })
            .start()
            .unwrap();
        // Each job that ran has the payload that was enqueued.
        pond.testing().idle().await;
        assert!(log.all().iter().all(|n| *n < 100), "bit {n} at {at}");
        assert!(seen.all().iter().all(|(group, n)| *group == format!("g{}", n % 7)), "bit {n} at {at}");
    }
}

/// Flips a bit in the payload of the job whose bytes are `needle`, in a closed file.
fn spoil(path: &Path, needle: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let mut found = 0;
    for at in 0..bytes.len() - needle.len() {
        if &bytes[at..at + needle.len()] == needle {
            bytes[at] ^= 1;
            found += 1;
        }
    }
    assert!(found > 0);
    fs::write(path, bytes).unwrap();
}

fn raw(text: &'static str) -> NewJob {
    NewJob::raw("raw", Bytes::from_static(text.as_bytes()))
}

fn record_raw(pond: &Millpond) -> Log<String> {
    let log = Log::new();
    let seen = log.clone();
    pond.worker("q")
        .concurrency(1)
        .handle_raw("raw", move |job: Job<Bytes>| {
            seen.push(String::from_utf8_lossy(&job).into_owned());
            async { Ok(()) }
        })
        .start()
        .unwrap();
    log
}

#[tokio::test]
async fn a_corrupt_record_is_quarantined_and_other_jobs_run() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue_many("q", [raw("first-payload"), raw("second-payload"), raw("third-payload")]).await.unwrap();
    close(pond).await;
    spoil(&disk.path(), b"second-payload");
    let pond = disk.open();
    assert!(!pond.verify().await.unwrap().is_ok());
    let ran = record_raw(&pond);
    pond.testing().idle().await;
    assert_eq!(ran.all(), ["first-payload", "third-payload"]);
    assert_eq!((pond.quarantined().unwrap(), pond.metrics().quarantined_total), (1, 1));
    assert_sound(&pond).await;
    close(pond).await;
    assert_eq!(disk.open().quarantined().unwrap(), 1, "it is kept");
}

#[tokio::test]
async fn a_read_of_a_corrupt_record_is_a_corrupt_error() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let ids = pond.enqueue_many("q", [raw("first-payload"), raw("second-payload")]).await.unwrap();
    close(pond).await;
    spoil(&disk.path(), b"second-payload");
    let pond = disk.open();
    assert_eq!(state(&pond, ids[0]), State::Pending);
    assert!(matches!(pond.job(ids[1]), Err(Error::CorruptRecord { id, .. }) if id == ids[1]));
    let page = pond.jobs(&millpond::JobFilter::new(), None, 10).unwrap();
    assert_eq!(page.jobs.len(), 1, "the listing continues");
    let cancelled = pond.cancel(ids[1], "x").await;
    assert!(matches!(cancelled, Err(Error::CorruptRecord { .. })), "{cancelled:?}");
    pond.cancel(ids[0], "x").await.unwrap();
}

#[tokio::test]
async fn a_corrupt_head_is_quarantined_and_its_group_continues() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let jobs = ["first-payload", "second-payload", "third-payload"].map(|text| raw(text).group("g"));
    pond.enqueue_many("q", jobs).await.unwrap();
    pond.enqueue("q", raw("other-group").group("h")).await.unwrap();
    close(pond).await;
    spoil(&disk.path(), b"first-payload");
    let pond = disk.open();
    let ran = record_raw(&pond);
    pond.testing().idle().await;
    let mut all = ran.all();
    all.sort_unstable();
    assert_eq!(all, ["other-group", "second-payload", "third-payload"]);
    assert_eq!(pond.quarantined().unwrap(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_corrupt_member_in_the_middle_is_quarantined_and_its_group_continues() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let jobs = ["first-payload", "second-payload", "third-payload"].map(|text| raw(text).group("g"));
    pond.enqueue_many("q", jobs).await.unwrap();
    close(pond).await;
    spoil(&disk.path(), b"second-payload");
    let pond = disk.open();
    let ran = record_raw(&pond);
    pond.testing().idle().await;
    assert_eq!(ran.all(), ["first-payload", "third-payload"]);
    assert_eq!(pond.quarantined().unwrap(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_corrupt_delayed_job_is_quarantined_and_the_others_become_due() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let jobs = ["first-payload", "second-payload", "third-payload"].map(|text| raw(text).delay(SECOND));
    pond.enqueue_many("q", jobs).await.unwrap();
    close(pond).await;
    spoil(&disk.path(), b"first-payload");
    let pond = disk.open();
    let ran = record_raw(&pond);
    disk.clock.advance(SECOND);
    pond.testing().idle().await;
    assert_eq!(ran.all(), ["second-payload", "third-payload"]);
    assert_eq!(pond.quarantined().unwrap(), 1);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_temporary_file_of_an_interrupted_creation_does_not_stop_the_next_one() {
    let disk = OnDisk::new();
    fs::write(disk.dir.path().join("jobs.redb.creating"), b"half a file").unwrap();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    assert!(!disk.dir.path().join("jobs.redb.creating").exists());
}

#[tokio::test]
async fn a_relative_path_without_a_directory_works() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let name = dir.path().strip_prefix(".").unwrap_or(dir.path()).join("x.redb");
    let pond = Millpond::open(&name).unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
}

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("millpond/meta");

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_keeps_its_bytes() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    // The next version as this one would write it: version byte, checksum, number.
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[1, 10]);
    let mut row = vec![1];
    row.extend(hasher.finalize().to_le_bytes());
    row.push(10);
    let db = Database::open(disk.path()).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert("schema", row.as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    let before = fs::read(disk.path()).unwrap();
    for _ in 0..2 {
        assert!(matches!(disk.builder().open(disk.path()), Err(Error::TooNew { found: 10, known: 9, .. })));
        assert!(fs::read(disk.path()).unwrap() == before);
    }
    let db = Arc::new(Database::open(disk.path()).unwrap());
    assert!(matches!(disk.builder().attach(db), Err(Error::TooNew { found: 10, known: 9, .. })));
}

#[tokio::test]
async fn a_corrupt_member_that_is_due_later_is_quarantined_whatever_the_policy() {
    use millpond::{GroupPolicy, QueueSettings};
    for policy in [GroupPolicy::Block, GroupPolicy::Skip] {
        let disk = OnDisk::new();
        let pond = disk.open();
        pond.queue("q").unwrap().configure(QueueSettings::default().groups(policy)).await.unwrap();
        pond.enqueue("q", raw("first-payload").group("g").delay(SECOND)).await.unwrap();
        pond.enqueue("q", raw("second-payload").group("g").delay(SECOND)).await.unwrap();
        close(pond).await;
        spoil(&disk.path(), b"first-payload");
        let pond = disk.open();
        let ran = record_raw(&pond);
        disk.clock.advance(SECOND);
        pond.testing().idle().await;
        assert_eq!((ran.all(), pond.quarantined().unwrap()), (vec!["second-payload".to_owned()], 1), "{policy:?}");
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_corrupt_dead_letter_does_not_hide_the_others() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.worker("q")
        .handle_raw("raw", |_: Job<Bytes>| async { Ok(millpond::Outcome::dead_letter("x")) })
        .start()
        .unwrap();
    let ids = pond.enqueue_many("q", [raw("first-payload"), raw("second-payload")]).await.unwrap();
    pond.testing().idle().await;
    close(pond).await;
    spoil(&disk.path(), b"first-payload");
    let pond = disk.open();
    let dead = pond.dead_letters();
    assert!(matches!(dead.redrive(ids[0]).await, Err(Error::CorruptRecord { .. })));
    assert_eq!(dead.count(&millpond::JobFilter::new()).unwrap(), 1);
    assert!(dead.redrive(ids[1]).await.unwrap());
    assert!(!dead.purge(ids[0]).await.unwrap(), "it is quarantined");
    assert!(pond.quarantine().purge(1).await.unwrap(), "it can be removed");
    assert_sound(&pond).await;
}

#[tokio::test]
async fn a_database_attached_twice_is_refused() {
    let disk = OnDisk::new();
    foreign(&disk.path());
    let db = Arc::new(Database::open(disk.path()).unwrap());
    let pond = disk.builder().attach(db.clone()).unwrap();
    assert!(matches!(disk.builder().attach(db.clone()), Err(Error::AlreadyOpen { .. })));
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    let pond = disk.builder().attach(db).unwrap();
    assert_eq!(pond.enqueue("q", work(1)).await.unwrap().id.get(), 2);
}

#[tokio::test]
async fn a_refused_file_keeps_every_byte() {
    let disk = OnDisk::new();
    foreign(&disk.path());
    let before = fs::read(disk.path()).unwrap();
    assert!(matches!(disk.builder().open(disk.path()), Err(Error::NotAMillpond { .. })));
    assert!(fs::read(disk.path()).unwrap() == before);
}
