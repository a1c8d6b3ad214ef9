//! A plugin's file that is watched: a new version in the file runs, if it can.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use millpond::testing::ManualClock;
use millpond::{Error, Event, Events, Millpond, NewJob, Plugin, PluginError, PluginHash, PluginLimits, Worker};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::guest::{ECHO, NOTHING, TRAP, component, module, plugin};
use crate::files::{pipe, unless_it_hangs};
use crate::support::*;

const EVERY: Duration = Duration::from_secs(5);

struct Folder {
    directory: TempDir,
    versions: Cell<u64>,
}

impl Folder {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), versions: Cell::new(0) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name).with_extension("wasm")
    }

    /// Replaces the file in one step. Each version has another modification time, however coarse the disk's clock is.
    fn put(&self, name: &str, bytes: &[u8]) -> PluginHash {
        let whole = self.file("whole");
        fs::write(&whole, bytes).unwrap();
        self.touch("whole");
        fs::rename(&whole, self.file(name)).unwrap();
        hash(bytes)
    }

    fn touch(&self, name: &str) {
        self.versions.set(self.versions.get() + 1);
        let file = fs::File::options().append(true).open(self.file(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + SECOND * self.versions.get() as u32).unwrap();
    }
}

fn hash(bytes: &[u8]) -> PluginHash {
    PluginHash::new(Sha256::digest(bytes).into())
}

fn start(pond: &Millpond, queue: &str, file: &Path) -> Worker {
    pond.worker(queue).handle_wasm("job", Plugin::from_file(file).unwrap().watch(EVERY)).start().unwrap()
}

/// Lets time pass until an event about a plugin arrives. A check that has not ended when the next one is due is not
/// started a second time, so it does not matter how fast the clock moves.
async fn next_reload_event(pond: &Millpond, clock: &ManualClock, events: &mut Events) -> Event {
    loop {
        while let Some(heard) = events.try_next() {
            if let Ok(event @ (Event::PluginReloaded { .. } | Event::PluginNotReloaded { .. })) = heard {
                return event;
            }
        }
        clock.advance(EVERY);
        settled(pond).await;
        tokio::task::yield_now().await;
    }
}

#[track_caller]
fn assert_reloaded(event: &Event, name: &str, version: PluginHash) {
    match event {
        Event::PluginReloaded { plugin, hash, .. } => assert_eq!((&**plugin, *hash), (name, version)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_new_version_in_the_file_runs_and_is_reported() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    folder.put("guest", &module(NOTHING));
    let worker = start(&pond, "q", &folder.file("guest"));
    let mut events = pond.events();
    for version in [module(ECHO), component(&module(ECHO)), module(NOTHING)] {
        let hash = folder.put("guest", &version);
        assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", hash);
        assert_eq!(worker.plugin("job").unwrap().hash(), hash);
    }
    folder.put("guest", &component(&module(ECHO)));
    next_reload_event(&pond, &clock, &mut events).await;
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"x"[..]));
}

#[tokio::test]
async fn a_bad_version_is_reported_once_and_leaves_the_last_good_one() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    let good = folder.put("guest", &module(ECHO));
    let worker = start(&pond, "q", &folder.file("guest"));
    let mut events = pond.events();
    let bad: [(&[u8], &str); 3] = [
        (b"MZ", r#"plugin "guest" was refused: it is not WebAssembly"#),
        (&module(ECHO)[..100], r#"plugin "guest" was refused: "#),
        (&wat::parse_str("(component)").unwrap(), r#"plugin "guest" was refused: it is no job handler"#),
    ];
    for (bytes, says) in bad {
        folder.put("guest", bytes);
        let Event::PluginNotReloaded { plugin, reason, .. } = next_reload_event(&pond, &clock, &mut events).await
        else {
            panic!("taken")
        };
        assert!(*plugin == *"guest" && reason.starts_with(says), "{plugin}: {reason}");
        assert_eq!(worker.plugin("job").unwrap().hash(), good);
    }
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"x"[..]));
    // The next event is about the next change: the bad version is not tried again at each check.
    let better = folder.put("guest", &module(NOTHING));
    assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", better);
}

#[tokio::test]
async fn a_missing_file_is_reported_and_loaded_when_it_is_back() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    folder.put("guest", &module(ECHO));
    start(&pond, "q", &folder.file("guest"));
    let mut events = pond.events();
    fs::remove_file(folder.file("guest")).unwrap();
    let gone = next_reload_event(&pond, &clock, &mut events).await;
    assert!(matches!(&gone, Event::PluginNotReloaded { reason, .. } if reason.contains("could not read")), "{gone:?}");
    let back = folder.put("guest", &module(NOTHING));
    assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", back);
}

/// A read of a pipe would wait for a writer for ever, and the file would not be checked any more.
#[tokio::test]
async fn a_file_replaced_by_a_pipe_is_reported_and_loaded_when_it_is_a_file_again() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    folder.put("guest", &module(ECHO));
    start(&pond, "q", &folder.file("guest"));
    let mut events = pond.events();
    for _ in 0..2 {
        // In one step: a check in between would report that the file is gone.
        pipe(&folder.file("pipe"));
        fs::rename(folder.file("pipe"), folder.file("guest")).unwrap();
        let told_of = tokio::time::timeout(SECOND * 20, next_reload_event(&pond, &clock, &mut events));
        let told_of = told_of.await.expect("it is reported");
        assert!(
            matches!(&told_of, Event::PluginNotReloaded { reason, .. } if reason.contains("could not read")),
            "{told_of:?}"
        );
        // It is reported once, and not at each check.
        for _ in 0..4 {
            clock.advance(EVERY);
            settled(&pond).await;
        }
        assert_eq!(events.try_next(), None);
        let version = folder.put("guest", &module(NOTHING));
        assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", version);
        let version = folder.put("guest", &module(ECHO));
        assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", version);
    }
}

#[test]
fn a_plugin_path_that_is_not_a_regular_file_is_refused_without_waiting() {
    let folder = Folder::new();
    pipe(&folder.file("pipe"));
    fs::create_dir(folder.file("directory")).unwrap();
    for path in [folder.file("pipe"), folder.file("directory"), PathBuf::from("/dev/zero")] {
        let read = path.clone();
        match unless_it_hangs("the reading", move || Plugin::from_file(read).map(drop)) {
            Err(Error::Io { operation: "read", path: named, .. }) => assert_eq!(named, path),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

#[tokio::test]
async fn the_same_bytes_written_again_are_not_a_new_version() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    folder.put("guest", &module(TRAP));
    folder.put("witness", &module(ECHO));
    // The plugin is suspended after one trap. A file that was only touched does not end the suspension.
    let trapping = Plugin::from_file(folder.file("guest")).unwrap().limits(PluginLimits::default().traps_in_a_row(1));
    let worker = pond.worker("q").handle_wasm("job", trapping.watch(EVERY)).start().unwrap();
    start(&pond, "w", &folder.file("witness"));
    pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    drained(&pond).await;
    let mut events = pond.events();
    folder.touch("guest");
    // Both files are checked in the same rounds.
    for version in [module(NOTHING), module(ECHO)] {
        let hash = folder.put("witness", &version);
        assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "witness", hash);
    }
    assert!(worker.plugin("job").unwrap().is_suspended());
}

#[tokio::test]
async fn a_stopped_worker_no_longer_checks_the_file() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    let stopped = folder.put("stopped", &module(ECHO));
    folder.put("witness", &module(ECHO));
    let worker = start(&pond, "q", &folder.file("stopped"));
    start(&pond, "w", &folder.file("witness"));
    let mut events = pond.events();
    let handle = worker.plugin("job").unwrap();
    worker.stop();
    folder.put("stopped", &module(NOTHING));
    // Both files would have been checked in the same rounds.
    for version in [module(NOTHING), module(ECHO)] {
        let hash = folder.put("witness", &version);
        assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "witness", hash);
    }
    assert_eq!(handle.hash(), stopped);
}

#[tokio::test]
async fn a_manually_loaded_version_is_reported_and_runs_until_the_file_changes() {
    let (folder, (clock, pond)) = (Folder::new(), memory());
    folder.put("guest", &module(ECHO));
    let worker = start(&pond, "q", &folder.file("guest"));
    let handle = worker.plugin("job").unwrap();
    let mut events = pond.events();
    // The file has been read by the time that the first change is reported.
    let first = folder.put("guest", &module(NOTHING));
    assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", first);
    let by_hand = handle.reload(module(TRAP)).unwrap();
    assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", by_hand);
    let next = folder.put("guest", &component(&module(NOTHING)));
    assert_reloaded(&next_reload_event(&pond, &clock, &mut events).await, "guest", next);
}

#[tokio::test]
async fn watching_without_a_file_or_with_an_interval_of_zero_is_refused() {
    let (_, pond) = memory();
    let folder = Folder::new();
    folder.put("guest", &module(ECHO));
    let from_file = Plugin::from_file(folder.file("guest")).unwrap();
    for unwatchable in [plugin(ECHO).watch(EVERY), from_file.watch(Duration::ZERO)] {
        let refused = pond.worker("q").handle_wasm("job", unwatchable).start();
        let is_named =
            |reason: &PluginError| matches!(reason, PluginError::Misconfigured { what: "setting `watch`", .. });
        assert!(matches!(&refused, Err(Error::Plugin { reason, .. }) if is_named(reason)), "{refused:?}");
    }
}
