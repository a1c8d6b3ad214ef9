//! A plugin is suspended after too many traps, and runs again after `resume` or with a new version.

use millpond::{Error, Event, Millpond, NewJob, Outcome, Plugin, PluginError, PluginLimits, Retry, State, Worker};

use super::guest::{ECHO, NOTHING, SPIN, TRAP, module, plugin};
use crate::support::*;

/// Logs that it has begun.
const BEGUN: &str = "(call $log (i32.const 2) (i32.const 0) (i32.const 0))";

fn start(pond: &Millpond, plugin: Plugin) -> Worker {
    let limits = PluginLimits::default().traps_in_a_row(3);
    let worker = pond.worker("q").concurrency(1).retry(Retry::none());
    worker.handle_wasm("job", plugin.limits(limits)).start().unwrap()
}

async fn run(pond: &Millpond, jobs: usize) {
    pond.enqueue_many("q", (0..jobs).map(|_| NewJob::raw("job", "x"))).await.unwrap();
    drained(pond).await;
}

#[tokio::test]
async fn too_many_traps_in_a_row_suspend_a_plugin_and_its_jobs_wait() {
    let (_, pond) = memory();
    let worker = start(&pond, plugin(TRAP));
    let mut events = pond.events();
    run(&pond, 5).await;
    let counts = pond.queue("q").unwrap().counts();
    assert_eq!((counts.dead, counts.scheduled), (3, 2));
    let handle = worker.plugin("job").unwrap();
    assert!(handle.is_suspended());
    let is_told = |event: &Event| match event {
        Event::PluginSuspended { plugin, hash, failures: 3, .. } => (&**plugin, *hash) == ("guest", handle.hash()),
        _ => false,
    };
    assert_eq!(heard(&mut events).iter().filter(|event| is_told(event)).count(), 1);
}

#[tokio::test]
async fn resume_or_a_new_version_ends_the_suspension() {
    let (clock, pond) = memory();
    let worker = start(&pond, plugin(TRAP));
    run(&pond, 4).await;
    let handle = worker.plugin("job").unwrap();
    handle.resume();
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().dead, 4, "it runs, and traps");
    run(&pond, 3).await;
    assert!(handle.is_suspended());
    let before = handle.hash();
    assert_ne!(handle.reload(module(ECHO)).unwrap(), before);
    clock.advance(HOUR);
    drained(&pond).await;
    assert_eq!((handle.is_suspended(), pond.queue("q").unwrap().counts().completed), (false, 1));
}

#[tokio::test]
async fn a_bad_new_version_leaves_the_last_good_one() {
    let (_, pond) = memory();
    let worker = start(&pond, plugin(ECHO));
    let handle = worker.plugin("job").unwrap();
    let before = handle.hash();
    let refused = handle.reload(b"\0asm");
    assert!(matches!(refused, Err(Error::Plugin { reason: PluginError::Invalid { .. }, .. })), "{refused:?}");
    assert_eq!(handle.hash(), before);
    run(&pond, 1).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed, 1);
}

#[tokio::test]
async fn a_running_attempt_finishes_with_the_version_that_it_began_with() {
    let (clock, pond) = memory();
    let limits = PluginLimits::default().time(SECOND);
    let worker = pond.worker("q").retry(Retry::fixed(SECOND).jitter(0.0));
    let worker = worker.handle_wasm("job", plugin(&format!("{BEGUN} {SPIN}")).limits(limits)).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", "x")).await.unwrap();
    while pond.job(id).unwrap().logs.is_empty() {
        tokio::task::yield_now().await;
    }
    let handle = worker.plugin("job").unwrap();
    let first = handle.hash();
    let second = handle.reload(module(ECHO)).unwrap();
    clock.advance(SECOND);
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().plugins, [(1, first)]);
    clock.advance(SECOND);
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.plugins), (State::Completed, vec![(1, first), (2, second)]));
}

#[tokio::test]
async fn a_file_is_reloaded_only_if_it_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guest.wasm");
    std::fs::write(&file, module(NOTHING)).unwrap();
    let (_, pond) = memory();
    let worker = start(&pond, Plugin::from_file(&file).unwrap());
    let handle = worker.plugin("job").unwrap();
    assert_eq!((handle.name(), handle.reload_file(&file).unwrap()), ("guest", handle.hash()));
    let before = handle.hash();
    std::fs::write(&file, module(ECHO)).unwrap();
    assert_ne!(handle.reload_file(&file).unwrap(), before);
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(handle.reload_file(&file), Err(Error::Io { .. })));
    run(&pond, 1).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed, 1);
}

#[tokio::test]
async fn a_stopped_worker_has_no_plugins() {
    let (_, pond) = memory();
    let worker = start(&pond, plugin(ECHO));
    assert!(worker.plugin("other").is_none());
    let same = worker.clone();
    worker.stop();
    assert!(same.plugin("job").is_none());
}

#[tokio::test]
async fn rust_functions_and_plugins_share_a_worker() {
    let (_, pond) = memory();
    let worker =
        pond.worker("q").handle_raw("rust", |_: millpond::Job<bytes::Bytes>| async { Ok(Outcome::done_with("rust")) });
    worker.handle_wasm("job", plugin(ECHO)).start().unwrap();
    let ids = pond.enqueue_many("q", [NewJob::raw("rust", ""), NewJob::raw("job", "wasm")]).await.unwrap();
    drained(&pond).await;
    let results = ids.into_iter().map(|id| pond.job(id).unwrap().result.unwrap());
    assert_eq!(results.collect::<Vec<_>>(), ["rust", "wasm"]);
}
