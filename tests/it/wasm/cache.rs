//! Compiled code that is kept on the disk is loaded again, if it is ours and whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use millpond::{Error, Plugin, PluginError, PluginLimits, State};

use super::guest::{ECHO, plugin};
use super::outcomes::info;
use crate::support::memory;

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
async fn code_is_kept_for_its_owner_alone_and_used_the_next_time() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, other) = (directory.path().join("a"), directory.path().join("b"));
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    let [file] = &files(&cache)[..] else { panic!("one file: {:?}", files(&cache)) };
    assert_eq!(fs::metadata(&cache).unwrap().permissions().mode() & 0o777, 0o700);
    // That it is used is seen by having another one's code there: only its owner can do that.
    assert_eq!(result(plugin(OTHER).cache(&other)).await, [0, 0, 0]);
    fs::copy(&files(&other)[0], file).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, [0, 0, 0]);
}

#[tokio::test]
async fn clones_of_a_plugin_are_compiled_once_whatever_they_may() {
    let directory = tempfile::tempdir().unwrap();
    let (cache, other) = (directory.path().join("a"), directory.path().join("b"));
    let echo = plugin(ECHO);
    assert_eq!(result(echo.clone().cache(&cache)).await, b"echo");
    assert_eq!(files(&cache).len(), 1);
    // Whatever is compiled is kept where it is to be kept.
    assert_eq!(result(echo.clone().cache(&other)).await, b"echo");
    assert!(files(&other).is_empty(), "{:?}", files(&other));
    // Limits are held against each of them.
    let (_, pond) = memory();
    let refused = pond.worker("q").handle_wasm("job", echo.limits(PluginLimits::default().memory_bytes(1))).start();
    assert!(matches!(refused, Err(Error::Plugin { reason: PluginError::OverLimits { .. }, .. })), "{refused:?}");
    assert_eq!(result(plugin(ECHO).cache(&other)).await, b"echo");
    assert_eq!(files(&other).len(), 1, "another one is compiled for itself");
}

#[tokio::test]
async fn code_that_is_damaged_is_compiled_again() {
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
async fn a_directory_in_which_others_have_rights_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o770)).unwrap();
    assert_eq!(result(plugin(ECHO).cache(&cache)).await, b"echo");
    assert!(files(&cache).is_empty());
}
