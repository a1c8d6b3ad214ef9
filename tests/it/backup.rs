//! A backup taken while the queue runs is the state of one commit, and does not make the file grow.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millpond::{Error, Job, Millpond};
use redb::backends::InMemoryBackend;
use redb::{Database, StorageBackend, TableDefinition};

use crate::support::*;

const APP: TableDefinition<u64, &[u8]> = TableDefinition::new("app");

/// The number of files left by backups that have not finished.
fn unfinished(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".backing-up")).count()
}

/// Writes rows and jobs in pairs, `1..`, until it is told to stop; the payloads churn the file.
struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn on(pond: &Millpond, acked: Arc<AtomicU64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, progress, pond) = (stop.clone(), acked.clone(), pond.clone());
        let thread = std::thread::spawn(move || {
            for i in 1.. {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let pair = pond.transaction(move |tx| {
                    let row = vec![i as u8; 3_000];
                    let mut app = tx.open_table(APP)?;
                    app.insert(i, row.as_slice())?;
                    // One row that is overwritten again and again, all through the file.
                    app.insert(0, [i as u8; 3_000].as_slice())?;
                    drop(app);
                    Ok(tx.enqueue("pairs", work(i))?)
                });
                pair.wait().unwrap();
                progress.store(i, Ordering::SeqCst);
            }
        });
        Self { stop, acked, thread }
    }

    fn acked(&self) -> u64 {
        self.acked.load(Ordering::SeqCst)
    }

    /// Waits until this many more pairs are acknowledged.
    fn wait_for(&self, more: u64) {
        let until = self.acked() + more;
        while self.acked() < until {
            std::thread::yield_now();
        }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.acked.load(Ordering::SeqCst)
    }
}

/// The number of pairs: rows `1..=k` and jobs `1..=k`, without a gap in either.
fn pairs(pond: &Millpond) -> u64 {
    let app = pond.begin_read().unwrap().open_table(APP).unwrap();
    let rows: Vec<u64> = app.range(1..).unwrap().map(|row| row.unwrap().0.value()).collect();
    let jobs = millpond::testing::all_enqueued(pond, "pairs");
    let mut jobs: Vec<u64> = jobs.iter().map(|job| job.payload.decode::<Work>().unwrap().n).collect();
    jobs.sort_unstable();
    assert_eq!(rows, jobs, "a row and its job exist together or not at all");
    assert_eq!(rows, (1..=rows.len() as u64).collect::<Vec<_>>(), "no commit is missing before another");
    rows.len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_under_load_is_the_state_of_one_commit_and_all_its_jobs_run() {
    let disk = OnDisk::new();
    let pond = disk.open();
    // There must be something to copy while the load runs.
    for chunk in 0..8 {
        pond.enqueue_many("q", (0..1_000).map(|n| work(chunk * 1_000 + n))).await.unwrap();
    }
    let load = Load::on(&pond, Arc::default());
    load.wait_for(10);
    for n in 0..3 {
        let before = load.acked();
        let target = disk.dir.path().join(format!("backup-{n}.redb"));
        let backup = pond.backup(&target).await.unwrap();
        assert_eq!((backup.path.as_path(), backup.bytes), (target.as_path(), fs::metadata(&target).unwrap().len()));
        assert!(backup.verification.is_ok(), "{:?}", backup.verification.problems);
        load.wait_for(1);
        let copy = disk.builder().verify_on_open().open(&target).unwrap();
        let pairs = pairs(&copy);
        assert!(before <= pairs && pairs <= load.acked() + 1, "{before} <= {pairs} <= {}", load.acked() + 1);
        assert_eq!(backup.verification.jobs, 8_000 + pairs);
        let done = Log::new();
        let ran = done.clone();
        copy.worker("q")
            .concurrency(100)
            .handle(move |job: Job<Work>| {
                ran.push(job.n);
                async { Ok(()) }
            })
            .start()
            .unwrap();
        record(&copy, "pairs", 100);
        drained(&copy).await;
        assert_eq!(done.len(), 8_000);
        assert_eq!(copy.queue("pairs").unwrap().counts().unfinished(), 0);
        assert_eq!(unfinished(disk.dir.path()), 0);
    }
    let acked = load.stop();
    assert_eq!(pairs(&pond), acked, "the queue itself has not noticed the damage");
    assert_sound(&pond).await;
}

/// A disk in memory from which a backup reads slowly: after each of its first reads the load runs alone for a while.
#[derive(Clone, Debug)]
struct Overtaken {
    memory: Arc<InMemoryBackend>,
    acked: Arc<AtomicU64>,
    times_left: Arc<AtomicU64>,
}

impl StorageBackend for Overtaken {
    fn len(&self) -> std::io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.memory.read(offset, out)?;
        let one_less = |times: u64| times.checked_sub(1);
        if std::thread::current().name() == Some("millpond-backup")
            && self.times_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok()
        {
            let until = self.acked.load(Ordering::SeqCst) + 30;
            while self.acked.load(Ordering::SeqCst) < until {
                std::thread::yield_now();
            }
        }
        Ok(())
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_that_cannot_keep_up_with_the_load_is_still_the_state_of_one_commit() {
    let (acked, times_left) = (Arc::<AtomicU64>::default(), Arc::new(AtomicU64::new(6)));
    let disk = Overtaken { memory: Arc::new(InMemoryBackend::new()), acked: acked.clone(), times_left };
    let dir = tempfile::tempdir().unwrap();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    // Several reads of a MiB, so that the load writes both before and behind the position that is read.
    for _ in 0..8 {
        let big = (0..1_000).map(|n| millpond::NewJob::raw("big", vec![n as u8; 1_000]));
        pond.enqueue_many("q", big).await.unwrap();
    }
    let load = Load::on(&pond, acked);
    load.wait_for(10);
    let before = load.acked();
    let backup = pond.backup(dir.path().join("copy.redb")).await.unwrap();
    assert_eq!(disk.times_left.load(Ordering::SeqCst), 0, "it was overtaken");
    assert!(backup.verification.is_ok(), "{:?}", backup.verification.problems);
    let copy = Millpond::builder().verify_on_open().open(&backup.path).unwrap();
    // The end of the copy is made when all the rest is copied: it holds what was written meanwhile.
    assert!(pairs(&copy) >= before + 6 * 30, "{} and {before}", pairs(&copy));
    let acked = load.stop();
    assert_eq!(pairs(&pond), acked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_backup_does_not_make_the_file_grow() {
    /// The size of the file after this many commits that each overwrite the same rows.
    async fn churned(with_backups: bool) -> (u64, u64) {
        let disk = OnDisk::new();
        let pond = disk.open();
        let (mut taken, mut commits) = (0, 0);
        while commits < 600 {
            let mut backup = None;
            if with_backups {
                let target = disk.dir.path().join(format!("backup-{taken}.redb"));
                backup = Some(tokio::spawn(pond.backup(target)));
                taken += 1;
            }
            for _ in 0..100 {
                let write = pond.transaction(|tx| {
                    let mut app = tx.open_table(APP)?;
                    for i in 0..20u64 {
                        app.insert(i, [7u8; 3_000].as_slice())?;
                    }
                    Ok(())
                });
                write.await.unwrap();
                commits += 1;
            }
            if let Some(backup) = backup {
                backup.await.unwrap().unwrap();
            }
        }
        (fs::metadata(disk.path()).unwrap().len(), taken)
    }
    let (without, _) = churned(false).await;
    let (with, taken) = churned(true).await;
    assert!(taken >= 6);
    assert!(with <= without * 2, "{with} bytes with {taken} backups, {without} without");
}

#[tokio::test]
async fn jobs_that_run_during_a_backup_run_again_where_it_is_restored() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let (_worker, mut keeper) = gated(&pond, "q", 2);
    pond.enqueue_many("q", (0..3).map(work)).await.unwrap();
    assert_eq!(keeper.next(2).await, [0, 1]);
    starts_written(&pond, &disk.clock).await;
    let backup = pond.backup(disk.dir.path().join("copy.redb")).await.unwrap();
    keeper.let_go(3);
    let copy = disk.builder().open(&backup.path).unwrap();
    let ran = record(&copy, "q", 10);
    for _ in 0..3 {
        copy.testing().idle().await;
        disk.clock.advance(SECOND * 10);
    }
    let mut ran = ran.all();
    ran.sort_unstable();
    assert_eq!(ran, [0, 1, 2]);
}

#[tokio::test]
async fn a_destination_that_exists_or_cannot_exist_is_refused_by_name() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", work(1)).await.unwrap();
    let reason = |backup: Result<_, Error>| match backup {
        Err(Error::NotBackedUp { path, reason, .. }) => (path, reason),
        other => panic!("{other:?}"),
    };
    let other = disk.dir.path().join("letter.txt");
    fs::write(&other, "dear").unwrap();
    let (path, why) = reason(pond.backup(&other).await);
    assert!(path == other && why.contains("already"), "{why}");
    assert_eq!(fs::read(&other).unwrap(), b"dear");
    let round_about = disk.dir.path().join(".").join("jobs.redb");
    for own in [disk.path(), round_about] {
        assert!(reason(pond.backup(&own).await).1.contains("itself"));
    }
    match pond.backup(disk.dir.path().join("no/such/place.redb")).await {
        Err(Error::Io { operation: "back up to", path, .. }) => assert!(path.ends_with("place.redb")),
        other => panic!("{other:?}"),
    }
    assert!(reason(pond.backup("/").await).1.contains("name"));
    // A backup to this destination is still possible.
    pond.backup(disk.dir.path().join("copy.redb")).await.unwrap();
    let names: Vec<_> = fs::read_dir(disk.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[tokio::test]
async fn backup_of_an_attached_database_is_refused_and_says_that_the_application_backs_it_up() {
    let disk = OnDisk::new();
    let db = Arc::new(Database::create(disk.path()).unwrap());
    let pond = disk.builder().attach(db).unwrap();
    let backup = pond.backup(disk.dir.path().join("copy.redb")).await;
    assert!(matches!(backup, Err(Error::NotBackedUp { reason, .. }) if reason.contains("application")));
}

#[tokio::test]
async fn a_queue_in_memory_can_be_saved_to_a_file() {
    let (clock, pond) = memory();
    let dir = tempfile::tempdir().unwrap();
    pond.enqueue_many("q", (0..100).map(work)).await.unwrap();
    let backup = pond.backup(dir.path().join("saved.redb")).await.unwrap();
    let saved = Millpond::builder().clock(clock).open(&backup.path).unwrap();
    assert_eq!(saved.queue("q").unwrap().counts().pending, 100);
}

#[tokio::test]
async fn a_backup_that_a_shutdown_interrupts_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy.redb");
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    // The writer waits for its disk, and the last round of the backup waits for the writer.
    disk.hold_syncs();
    let stuck = tokio::spawn(pond.enqueue("q", work(1)));
    tokio::task::yield_now().await;
    disk.wait_for_sync();
    let backup = tokio::spawn(pond.backup(&target));
    while unfinished(dir.path()) == 0 {
        tokio::task::yield_now().await;
    }
    match pond.backup(&target).await {
        Err(Error::NotBackedUp { reason, .. }) => assert!(reason.contains("another backup"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!target.exists());
    let stopped = tokio::spawn(pond.shutdown(SECOND));
    // Waits until the writer takes no more messages: those that it has taken wait for the disk too.
    loop {
        let late = tokio::spawn(pond.enqueue("q", work(2)));
        tokio::task::yield_now().await;
        if late.is_finished() {
            assert!(matches!(late.await.unwrap(), Err(Error::Closed)));
            break;
        }
    }
    disk.release_syncs();
    stopped.await.unwrap().unwrap();
    let _ = stuck.await.unwrap();
    match backup.await.unwrap() {
        Err(Error::Closed) => assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left"),
        Ok(backup) => assert!(backup.path.exists()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_temporary_file_of_an_interrupted_backup_does_not_stop_the_next_backup() {
    let disk = OnDisk::new();
    let pond = disk.open();
    let target = disk.dir.path().join("copy.redb");
    for leftover in ["copy.redb.backing-up", "copy.redb.backing-up-0123456789abcdef"] {
        fs::write(disk.dir.path().join(leftover), b"half a file").unwrap();
    }
    pond.backup(&target).await.unwrap();
    assert!(target.exists());
    assert_eq!(unfinished(disk.dir.path()), 0);
}

/// A file that another program created during the backup is not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_created_at_the_destination_during_a_backup_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("copy.redb");
    let disk = SimDisk::new();
    let pond = Millpond::builder().open_backend(disk.clone()).unwrap();
    // The last round of the backup waits for the writer, and the writer for its disk.
    disk.hold_syncs();
    let stuck = tokio::spawn(pond.enqueue("q", work(1)));
    sync_begun(&disk).await;
    let backup = tokio::spawn(pond.backup(&target));
    while unfinished(directory.path()) == 0 {
        tokio::task::yield_now().await;
    }
    let other = Millpond::builder().open(&target).unwrap();
    other.enqueue("q", work(7)).await.unwrap();
    disk.release_syncs();
    stuck.await.unwrap().unwrap();
    match backup.await.unwrap() {
        Err(Error::NotBackedUp { path, reason, .. }) => {
            assert!(path == target && reason.contains("was made"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    close(other).await;
    let other = Millpond::builder().open(&target).unwrap();
    assert_eq!(other.queue("q").unwrap().counts().pending, 1);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_page_with_a_wrong_checksum_fails_the_backup_and_leaves_no_file() {
    let disk = OnDisk::new();
    let pond = disk.open();
    pond.enqueue("q", millpond::NewJob::raw("raw", "first-payload")).await.unwrap();
    close(pond).await;
    let mut bytes = fs::read(disk.path()).unwrap();
    let at = bytes.windows(13).position(|window| window == b"first-payload").unwrap();
    bytes[at] ^= 1;
    fs::write(disk.path(), bytes).unwrap();
    let pond = disk.open();
    let target = disk.dir.path().join("copy.redb");
    assert!(matches!(pond.backup(&target).await, Err(Error::Corrupt { .. })));
    assert_eq!(fs::read_dir(disk.dir.path()).unwrap().count(), 1);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_destination_that_cannot_be_written_is_an_error_and_not_a_panic() {
    let (_, pond) = memory();
    match pond.backup("/proc/copy.redb").await {
        Err(Error::Io { path, .. }) => assert_eq!(path, std::path::Path::new("/proc/copy.redb")),
        other => panic!("{other:?}"),
    }
}

const CHILD: &str = "MILLPOND_TEST_BACKUP_IN_CHILD";

/// Run by the test below in a process of its own, whose files are not allowed to grow.
#[tokio::test]
async fn child_that_backs_up_to_a_full_disk() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (_, pond) = memory();
    pond.enqueue("q", work(1)).await.unwrap();
    let backup = pond.backup(std::path::Path::new(&dir).join("copy.redb")).await;
    assert!(matches!(backup, Err(Error::StorageFull)), "{backup:?}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "no file is left");
    pond.enqueue("q", work(2)).await.unwrap();
}

#[tokio::test]
#[cfg(unix)]
async fn a_full_disk_fails_only_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let limited = r#"trap "" XFSZ; ulimit -f 64; exec "$0" --exact backup::child_that_backs_up_to_a_full_disk"#;
    let child = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}
