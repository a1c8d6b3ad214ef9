//! Files that the process is not allowed to use: for lack of rights, or because another process has them open.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use millpond::{Error, Millpond, NewJob};

use crate::all_jobs::all_jobs;
use crate::child::{self, number, setting};

/// The user without rights to anything.
const NOBODY: u32 = 65_534;

/// How many times a process that holds the file is killed while others try to open it.
const HOLDERS: u64 = 8;

// --- a process without the rights --------------------------------------------------------------

/// Tries to open files for which it lacks the rights.
pub fn child_without_rights() {
    assert!(!rustix::process::geteuid().is_root(), "root is refused nothing");
    let dir = PathBuf::from(setting::<String>("ROOM"));
    let file = dir.join("queue.redb");
    drop(Millpond::open(&file).unwrap());
    let bytes = fs::read(&file).unwrap();

    for mode in [0o400, 0o200, 0o000] {
        allow(&file, mode);
        refused(&file, &["open", "read"], &format!("a file of mode {mode:o}"));
    }
    allow(&file, 0o600);
    assert!(fs::read(&file).unwrap() == bytes, "it was not touched");

    let closed = dir.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::rename(&file, closed.join("old.redb")).unwrap();
    allow(&closed, 0o500);
    refused(&closed.join("new.redb"), &["create"], "a directory without the right to write");
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 1, "nothing is left behind");
    // Opening an existing file needs no rights on the directory.
    let pond = Millpond::open(closed.join("old.redb")).unwrap();
    pond.enqueue("q", NewJob::raw("k", "")).wait().unwrap();
    drop(pond);
    allow(&closed, 0o000);
    refused(&closed.join("old.redb"), &["look for"], "a directory without the right to search");
    allow(&closed, 0o700);
    println!("refused as user {}", rustix::process::geteuid().as_raw());
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(path: &Path, operations: &[&str], what: &str) {
    match Millpond::open(path) {
        Err(Error::Io { operation, path: named, source, .. }) => {
            assert_eq!((named.as_path(), source.kind()), (path, std::io::ErrorKind::PermissionDenied), "{what}");
            assert!(operations.contains(&operation), "{what}: could not {operation}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_process_without_the_rights_is_told_which_path_and_operation_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("env");
    if rustix::process::geteuid().is_root() {
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
        // The test binary can be in a directory that other users cannot search.
        let copy = dir.path().join("tests");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        command.arg(copy);
    } else {
        command.arg(std::env::current_exe().unwrap());
    }
    let room = dir.path().join("room");
    fs::create_dir(&room).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&room, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let settings = [("ROOM", room.display().to_string())];
    let (lines, status) = child::start_as(command, "without-rights", &settings).end();
    assert!(status.success() && lines.iter().any(|line| line.contains("refused as user")), "{status}: {lines:#?}");
}

// --- a file that another process has open -------------------------------------------------------

/// Holds the file open and enqueues until it is killed.
pub fn child_that_holds() {
    let path: String = setting("FILE");
    let pond = Millpond::open(path).unwrap();
    loop {
        match pond.enqueue("q", NewJob::raw("k", "")).wait() {
            Ok(id) => println!("ack {id}"),
            Err(error) => println!("error {error:?}"),
        }
    }
}

/// Two threads try to open the file while the process that holds it is killed. Neither opens it earlier, both get a
/// plain refusal until then, and one opens it with everything in it.
#[test]
fn no_other_process_opens_the_file_until_its_holder_is_dead() {
    let seed = number("KILL_SEED", 1);
    println!("KILL_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("queue.redb");
    let mut acknowledged = Vec::new();
    for _ in 0..HOLDERS {
        let mut holder = child::start("hold", &[("FILE", file.display().to_string())]);
        let before = acknowledged.len();
        while acknowledged.len() == before {
            read_line(&holder.next().expect("it enqueues"), &mut acknowledged);
        }
        assert!(matches!(Millpond::open(&file), Err(Error::AlreadyOpen { path, .. }) if path == file));
        let openers: Vec<_> = (0..2).map(|_| thread::spawn(open_as_soon_as_possible(file.clone()))).collect();
        thread::sleep(Duration::from_millis(rng.u64(..40)));
        holder.kill();
        holder.end().0.iter().for_each(|line| read_line(line, &mut acknowledged));
        let there: Vec<Vec<u64>> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();
        for ids in there {
            assert!(acknowledged.iter().all(|id| ids.contains(id)), "{} of {}", ids.len(), acknowledged.len());
        }
    }
}

fn read_line(line: &str, acknowledged: &mut Vec<u64>) {
    assert!(!line.contains("error"), "{line}");
    if let Some((what, id)) = line.rsplit_once(' ')
        && what.ends_with("ack")
        && let Ok(id) = id.parse()
    {
        acknowledged.push(id);
    }
}

/// Returns the jobs that it finds.
fn open_as_soon_as_possible(file: PathBuf) -> impl FnOnce() -> Vec<u64> {
    move || {
        loop {
            match Millpond::open(&file) {
                Ok(pond) => {
                    assert_eq!(pond.verify().wait().unwrap().problems, Vec::<String>::new());
                    return all_jobs(&pond).iter().map(|job| job.id.get()).collect();
                }
                Err(Error::AlreadyOpen { path, .. }) => assert_eq!(path, file),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

// --- files that several processes create --------------------------------------------------------

/// The number of processes that open each file at once.
const CREATORS: u64 = 3;

/// Opens one new file after another at the same moment as the others, and enqueues a job in each that it opens.
pub fn child_that_creates() {
    let directory = PathBuf::from(setting::<String>("ROOM"));
    let (own, rounds): (u64, u64) = (setting("OWN"), setting("ROUNDS"));
    for round in 0..rounds {
        let ready = |creator: u64| directory.join(format!("ready-{round}-{creator}"));
        fs::write(ready(own), "").unwrap();
        while !(0..CREATORS).all(|creator| ready(creator).exists()) {
            thread::yield_now();
        }
        match Millpond::open(directory.join(format!("{round}.redb"))) {
            Ok(pond) => {
                pond.enqueue("q", NewJob::raw("k", own.to_string())).wait().unwrap();
                println!("ack {round} {own}");
            }
            Err(Error::AlreadyOpen { .. }) => {}
            Err(error) => println!("error {error:?}"),
        }
    }
}

/// `OPEN_ROUNDS` sets the number of files.
#[test]
fn every_job_acknowledged_by_a_process_that_opened_a_new_file_is_stored() {
    let rounds = number("OPEN_ROUNDS", 60);
    let dir = tempfile::tempdir().unwrap();
    let creators = (0..CREATORS).map(|own| {
        let room = dir.path().display().to_string();
        child::start("create", &[("ROOM", room), ("OWN", own.to_string()), ("ROUNDS", rounds.to_string())])
    });
    let creators: Vec<_> = creators.collect();
    let mut acknowledged = vec![Vec::new(); rounds as usize];
    for creator in creators {
        let (lines, status) = creator.end();
        assert!(status.success(), "{status}: {lines:#?}");
        for line in lines {
            assert!(!line.contains("error"), "{line}");
            if let Some((_, ack)) = line.split_once("ack ") {
                let (round, own) = ack.split_once(' ').unwrap();
                acknowledged[round.parse::<usize>().unwrap()].push(own.to_owned());
            }
        }
    }
    for (round, mut acknowledged) in acknowledged.into_iter().enumerate() {
        assert!(!acknowledged.is_empty(), "round {round}: no process could open it");
        let pond = Millpond::open(dir.path().join(format!("{round}.redb"))).unwrap();
        let mut there: Vec<String> =
            all_jobs(&pond).iter().map(|job| String::from_utf8_lossy(&job.payload.bytes).into_owned()).collect();
        there.sort_unstable();
        acknowledged.sort_unstable();
        assert_eq!(there, acknowledged, "round {round}");
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains(".creating")).count(), 0);
}
