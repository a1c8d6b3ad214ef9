//! Several openers of one file: at any time only one of them has it open, and the jobs that it acknowledged exist.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Barrier};

use millpond::{Error, Millpond};
use redb::Database;

use crate::support::*;

/// The number of files that the threads open together. `OPEN_ROUNDS` sets another number.
const ROUNDS: u64 = 200;

const OPENERS: u64 = 4;

fn rounds() -> u64 {
    std::env::var("OPEN_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("a number"))
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

/// Opens the file once it is free, enqueues one job and closes the file.
fn enqueue_one(path: &Path, n: u64, runtime: &tokio::runtime::Handle) -> bool {
    match Millpond::builder().runtime(runtime.clone()).open(path) {
        Ok(pond) => {
            pond.enqueue("q", work(n)).wait().unwrap();
            true
        }
        Err(Error::AlreadyOpen { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// The numbers of those openers, of several at once, that could open the file and enqueue their number.
fn open_together(path: &Path, runtime: &tokio::runtime::Handle) -> BTreeSet<u64> {
    let start = Barrier::new(OPENERS as usize);
    std::thread::scope(|scope| {
        let open = |n| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                enqueue_one(path, n, runtime).then_some(n)
            })
        };
        let openers: Vec<_> = (0..OPENERS).map(open).collect();
        openers.into_iter().filter_map(|opener| opener.join().expect("it opens or is refused")).collect()
    })
}

#[test]
fn every_job_acknowledged_by_an_opener_of_a_new_file_exists() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 0..rounds() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jobs.redb");
        let acknowledged = open_together(&path, runtime.handle());
        assert!(!acknowledged.is_empty(), "round {round}: no opener succeeded");
        assert_eq!(names(directory.path()), ["jobs.redb"], "round {round}");
        let pond = Millpond::builder().runtime(runtime.handle().clone()).open(&path).unwrap();
        let jobs = millpond::testing::all_enqueued(&pond, "q");
        let there: BTreeSet<u64> = jobs.iter().map(|job| job.payload.decode::<Work>().unwrap().n).collect();
        assert_eq!(there, acknowledged, "round {round}");
    }
}

/// Each opener has the file only for as long as a check takes, so at least one of them must succeed each time.
#[test]
fn openers_of_a_closed_file_do_not_refuse_each_other() {
    let disk = OnDisk::new();
    drop(disk.open());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for round in 0..rounds() {
        let opened = open_together(&disk.path(), runtime.handle());
        assert!(!opened.is_empty(), "round {round}: no opener succeeded");
    }
}

#[tokio::test]
async fn an_open_file_is_recognized_under_each_of_its_names() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (link, hard) = (disk.dir.path().join("link.redb"), disk.dir.path().join("hard.redb"));
    symlink(disk.path(), &link).unwrap();
    fs::hard_link(disk.path(), &hard).unwrap();
    let round_about = disk.dir.path().join(".").join("jobs.redb");
    for name in [&link, &hard, &round_about] {
        let opened = disk.builder().open(name);
        assert!(matches!(opened, Err(Error::AlreadyOpen { .. })), "{}: {opened:?}", name.display());
    }
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    let pond = disk.builder().open(&link).unwrap();
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1);
}

/// A kill right after the file got its name leaves the temporary name. With that name left, the deletion of the file
/// would not be noticed, and jobs would be acknowledged that no later open finds.
#[tokio::test]
async fn the_deletion_of_a_file_with_a_leftover_temporary_name_is_noticed() {
    let disk = OnDisk::new();
    drop(disk.open());
    fs::hard_link(disk.path(), disk.dir.path().join("jobs.redb.creating-0123456789abcdef")).unwrap();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    assert_eq!(names(disk.dir.path()), ["jobs.redb"]);
    fs::remove_file(disk.path()).unwrap();
    assert!(pond.enqueue("q", work(2)).await.is_err());
}

#[tokio::test]
async fn a_database_that_the_application_has_open_cannot_be_opened_by_its_path() {
    let disk = OnDisk::new();
    drop(disk.open());
    let db = Arc::new(Database::open(disk.path()).unwrap());
    assert!(matches!(disk.builder().open(disk.path()), Err(Error::AlreadyOpen { .. })));
    let pond = disk.builder().attach(db).unwrap();
    assert!(matches!(disk.builder().open(disk.path()), Err(Error::AlreadyOpen { .. })));
    close(pond).await;
    disk.open();
}

#[tokio::test]
async fn a_dangling_symlink_is_kept_and_the_file_is_created_at_its_target() {
    let disk = OnDisk::new();
    let (volume, link) = (disk.dir.path().join("volume"), disk.dir.path().join("link.redb"));
    fs::create_dir(&volume).unwrap();
    // Through a second symlink, and relative to the directory that it lies in.
    symlink("volume/next.redb", &link).unwrap();
    symlink("data.redb", volume.join("next.redb")).unwrap();
    let pond = disk.builder().open(&link).unwrap();
    pond.enqueue("q", work(1)).await.unwrap();
    close(pond).await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(fs::symlink_metadata(volume.join("data.redb")).unwrap().is_file());
    assert_eq!(names(&volume).len(), 2, "{:?}", names(&volume));
    let pond = disk.builder().open(volume.join("data.redb")).unwrap();
    assert_eq!(pond.queue("q").unwrap().counts().pending, 1);
    close(pond).await;

    // Where no file can be created, none is, and the link is kept.
    let nowhere = disk.dir.path().join("nowhere.redb");
    symlink("no/such/directory.redb", &nowhere).unwrap();
    match disk.builder().open(&nowhere) {
        Err(Error::Io { path, .. }) => assert_eq!(path, nowhere),
        other => panic!("{other:?}"),
    }
    let round = disk.dir.path().join("round.redb");
    symlink("round.redb", &round).unwrap();
    assert!(matches!(disk.builder().open(&round), Err(Error::Io { .. })));
    assert!([nowhere, round].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
}
