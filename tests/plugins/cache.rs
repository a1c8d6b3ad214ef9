//! Compiled code on the disk is loaded again if it belongs to this user and is undamaged.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use millpond::{Error, Plugin, PluginError, PluginLimits, State};

use super::guest::{ECHO, plugin};
use super::outcomes::info;
use crate::files::pipe;
use crate::support::*;

/// A user and a group that no test runs as.
const NOBODY: u32 = 65_534;

const OTHER: &str = r#"(call $ok (i32.const 0) (i32.const 3))"#;

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).map_or(Vec::new(), |files| files.map(|file| file.unwrap().path()).collect())
}

async fn result(plugin: Plugin) -> Vec<u8> {
    let job = info(plugin, "echo").await;
    assert_eq!(job.state, State::Completed, "{job:?}");
    job.result.unwrap().into()
}

#[tokio::test]
async fn compiled_code_is_readable_only_by_its_owner_and_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, other) = (directory.path().join("a"), directory.path().join("b"));
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    let [file] = &files(&cache)[..] else { panic!("one file: {:?}", files(&cache)) };
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    // Other code at this place shows that it is used: only the owner is able to put it there.
    assert_eq!(result(plugin(OTHER).cache(&other)).await, [0, 0, 0]);
    fs::copy(&files(&other)[0], file).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, [0, 0, 0]);
}

#[tokio::test]
async fn clones_of_a_plugin_are_compiled_once_whatever_their_settings() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, other) = (directory.path().join("a"), directory.path().join("b"));
    let echo = plugin(ECHO);
    assert_eq!(result(echo.clone().cache(&cache)).await, b"echo");
    assert_eq!(files(&cache).len(), 1);
    // The code is kept only in the directory of the plugin that was compiled.
    assert_eq!(result(echo.clone().cache(&other)).await, b"echo");
    assert!(files(&other).is_empty(), "{:?}", files(&other));
    // The limits of each clone are checked.
    let (_, pond) = memory();
    let refused = pond.worker("q").handle_wasm("job", echo.limits(PluginLimits::default().memory_bytes(1))).start();
    assert!(matches!(refused, Err(Error::Plugin { reason: PluginError::OverLimits { .. }, .. })), "{refused:?}");
    assert_eq!(result(plugin(ECHO).cache(&other)).await, b"echo");
    assert_eq!(files(&other).len(), 1, "another plugin is compiled separately");
}

#[tokio::test]
async fn damaged_code_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    result(plugin(ECHO).cache(&cache)).await;
    let file = files(&cache).remove(0);
    let whole = fs::read(&file).unwrap();
    for damaged in [&whole[..whole.len() / 2], &[], &[&whole[..100], &[whole[100] ^ 1], &whole[101..]].concat()] {
        fs::write(&file, damaged).unwrap();
        assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
        assert_eq!(fs::read(&file).unwrap().len(), whole.len(), "it is whole again");
    }
    assert_eq!(files(&cache).len(), 1, "nothing unfinished is left");
}

#[tokio::test]
async fn a_directory_that_other_users_can_access_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    assert!(files(&cache).is_empty());
}

/// Puts the code of another plugin where the code of this one belongs. It would run.
async fn with_others_code(directory: &Path) -> (PathBuf, PathBuf) {
    let (cache, other) = (directory.join("cache"), directory.join("other"));
    result(plugin(ECHO).cache(&cache)).await;
    result(plugin(OTHER).cache(&other)).await;
    let file = files(&cache).remove(0);
    fs::copy(&files(&other)[0], &file).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, [0, 0, 0], "the other plugin's code is there");
    (cache, file)
}

/// A superuser can read files of other users, who could have written anything there.
#[tokio::test]
async fn code_that_belongs_to_another_user_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (cache, file) = with_others_code(directory.path()).await;
    chown(&cache, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    chown(&cache, Some(0), Some(0)).unwrap();
    chown(&file, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    let kept = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
    assert_eq!((kept, files(&cache).len()), (0, 1), "its own code has replaced it");
}

#[tokio::test]
async fn a_directory_that_belongs_to_another_user_is_not_written_to() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&cache, Some(NOBODY), Some(NOBODY)).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    assert!(files(&cache).is_empty());
}

#[tokio::test]
async fn code_that_other_users_can_write_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, file) = with_others_code(directory.path()).await;
    for mode in [0o620, 0o602] {
        let others_code = fs::read(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo", "{mode:o}");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, others_code).unwrap();
    }
}

#[tokio::test]
async fn symlinks_and_other_kinds_of_files_are_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, file) = with_others_code(directory.path()).await;
    let link = directory.path().join("link");
    symlink(&cache, &link).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&link)).await, b"echo", "a link may lead elsewhere at any time");

    let elsewhere = directory.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    assert!(fs::symlink_metadata(&file).unwrap().is_file(), "its own code has replaced it");

    fs::remove_file(&file).unwrap();
    pipe(&file);
    let compiled = tokio::time::timeout(
        SECOND * 20,
        tokio::task::spawn_blocking({
            let plugin = plugin(ECHO).cache(&cache);
            move || plugin.check().map(|info| info.bytes)
        }),
    );
    compiled.await.expect("it waits for a writer").unwrap().unwrap();
}
