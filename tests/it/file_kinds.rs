//! A path that is not a regular file is refused by its kind, without waiting.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use millpond::{Error, Millpond};

use crate::files::{pipe, unless_it_hangs};
use crate::support::*;

fn refused(path: PathBuf) -> String {
    let opened = path.clone();
    match unless_it_hangs("the opening", move || Millpond::open(&opened)) {
        Err(Error::Io { operation, path: named, source, .. }) => {
            assert_eq!(named, path);
            format!("{operation}: {source}")
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn a_pipe_a_socket_a_device_and_a_directory_are_refused_by_kind() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    pipe(&at("pipe"));
    symlink("pipe", at("link")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    for (path, is) in [
        (at("pipe"), "named pipe"),
        (at("link"), "named pipe"),
        (at("socket"), "socket"),
        (PathBuf::from("/dev/null"), "device"),
        (PathBuf::from("/dev/zero"), "device"),
        (directory.path().to_owned(), "directory"),
    ] {
        let said = refused(path.clone());
        assert!(said.contains(is), "{}: {said}", path.display());
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3, "nothing was made beside them");
}

#[tokio::test]
async fn a_backup_is_not_more_readable_than_the_file() {
    for mode in [0o600, 0o640, 0o644, 0o660, 0o400] {
        let disk = OnDisk::new();
        let pond = disk.open();
        pond.enqueue("q", work(1)).await.unwrap();
        fs::set_permissions(disk.path(), fs::Permissions::from_mode(mode)).unwrap();
        let backup = pond.backup(disk.dir.path().join("copy.redb")).await.unwrap();
        let found = fs::metadata(&backup.path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "{found:o} is not {mode:o}");
    }
}

/// A process of root is able to copy a file of another user.
#[tokio::test]
async fn a_backup_has_the_same_owner_as_the_file() {
    use std::os::unix::fs::{MetadataExt, chown};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let disk = OnDisk::new();
    let pond = disk.open();
    chown(disk.path(), Some(65_534), Some(65_533)).unwrap();
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o640)).unwrap();
    let backup = pond.backup(disk.dir.path().join("copy.redb")).await.unwrap();
    let copy = fs::metadata(&backup.path).unwrap();
    assert_eq!((copy.uid(), copy.gid(), copy.mode() & 0o7777), (65_534, 65_533, 0o640));
}
