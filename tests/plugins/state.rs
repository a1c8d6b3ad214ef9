//! The state that a plugin writes is committed with its job's completion: exactly once, or not at all.

use millpond::{FailureKind, Millpond, NewJob, Plugin, PluginLimits, Retry, State};
use redb::{ReadableTable, TableDefinition};

use super::guest::{module_with, plugin};
use super::outcomes::ran;
use crate::support::*;

const STATE: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("millpond/plugin_state");

/// The state of all plugins: plugin, key, value.
pub fn kept(pond: &Millpond) -> Vec<(String, String, String)> {
    let read = pond.begin_read().unwrap();
    let table = read.open_table(STATE).unwrap();
    let rows = table.iter().unwrap().map(|row| {
        let (key, row) = row.unwrap();
        let (plugin, key) = key.value();
        let value: bytes::Bytes = postcard::from_bytes(&row.value()[5..]).unwrap();
        // A counter is 8 bytes; no text here has that length.
        let text = match <[u8; 8]>::try_from(&value[..]) {
            Ok(counter) => i64::from_le_bytes(counter).to_string(),
            Err(_) => String::from_utf8_lossy(&value).into_owned(),
        };
        (plugin.to_owned(), key.to_owned(), text)
    });
    rows.collect()
}

fn one(plugin: &str, key: &str, value: &str) -> Vec<(String, String, String)> {
    vec![(plugin.to_owned(), key.to_owned(), value.to_owned())]
}

/// The first byte of the answer of a state function: 0 is success. For 1, the guest gives up with the case as its
/// reason.
const CHECK: &str = "(if (i32.load8_u (i32.const 256)) (then
    (i32.store8 (i32.const 300) (i32.add (i32.const 48) (i32.load8_u (i32.const 260))))
    (return (call $dead_letter (i32.const 300) (i32.const 1)))))";

/// A guest with this body, and with "key" at the address 1024.
fn with_key(body: &str) -> Plugin {
    let module = module_with(body, r#"(data (i32.const 1024) "keyx")"#);
    Plugin::from_bytes("guest", module).unwrap()
}

fn set(then: &str) -> Plugin {
    with_key(&format!(
        "(call $set (i32.const 1024) (i32.const 3) (local.get $p) (local.get $n) (i32.const 256)) {CHECK} {then}"
    ))
}

const COUNT: &str = "(call $increment (i32.const 1024) (i32.const 3) (i64.const 1) (i32.const 256))";
const DONE: &str = "(call $ok (i32.const 0) (i32.const 0))";

#[tokio::test]
async fn state_that_a_completed_job_set_is_kept() {
    let disk = OnDisk::new();
    let pond = disk.open();
    ran(&pond, set(DONE), "value").await;
    assert_eq!(kept(&pond), one("guest", "key", "value"));
    assert_eq!(kept(&disk.crashed("copy.redb")), one("guest", "key", "value"));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn an_attempt_that_does_not_complete_writes_no_state() {
    for end in [
        "unreachable",
        "(call $retry (i32.const 0) (i32.const 0))",
        "(call $dead_letter (i32.const 0) (i32.const 0))",
        "(call $snooze (i64.const 1))",
    ] {
        let (_, pond) = memory();
        ran(&pond, set(end), "value").await;
        assert_eq!(kept(&pond), [], "{end}");
    }
}

#[tokio::test]
async fn an_attempt_reads_its_own_writes_and_only_committed_ones_of_others() {
    let get = "(call $get (i32.const 1024) (i32.const 3) (i32.const 256))
        (call $ok (i32.load (i32.const 264)) (i32.load (i32.const 268)))";
    let (_, pond) = memory();
    let id = ran(&pond, set(get), "own").await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&b"own"[..]));

    let counted = with_key(&format!("{COUNT} {COUNT} {get}"));
    let (_, pond) = memory();
    let id = ran(&pond, counted, "").await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&2i64.to_le_bytes()[..]));
}

#[tokio::test]
async fn a_deleted_key_has_no_value() {
    let delete = "(call $delete (i32.const 1024) (i32.const 3) (i32.const 256)) (call $ok (i32.const 0) (i32.const 0))";
    let (_, pond) = memory();
    ran(&pond, set(DONE), "value").await;
    pond.worker("other").handle_wasm("delete", with_key(delete)).start().unwrap();
    pond.enqueue("other", NewJob::raw("delete", "")).await.unwrap();
    drained(&pond).await;
    assert_eq!(kept(&pond), []);
    assert_sound(&pond).await;
}

#[tokio::test]
async fn concurrent_jobs_lose_no_count() {
    let (_, pond) = memory();
    let counts = with_key(&format!("{COUNT} {DONE}"));
    pond.worker("q").concurrency(20).handle_wasm("job", counts).start().unwrap();
    pond.enqueue_many("q", (0..500).map(|_| NewJob::raw("job", ""))).await.unwrap();
    drained(&pond).await;
    assert_eq!(kept(&pond), one("guest", "key", "500"));
}

#[tokio::test]
async fn the_state_of_a_plugin_can_be_read_through_its_handle() {
    let (_, pond) = memory();
    let worker = pond.worker("q").handle_wasm("job", set(DONE)).start().unwrap();
    let handle = worker.plugin("job").unwrap();
    assert_eq!((handle.state_keys(None).unwrap(), handle.state("key").unwrap()), (vec![], None));
    pond.enqueue("q", NewJob::raw("job", "value")).await.unwrap();
    drained(&pond).await;
    assert_eq!(handle.state_keys(None).unwrap(), ["key"]);
    assert_eq!(handle.state_keys(Some("key")).unwrap(), [""; 0]);
    assert_eq!(handle.state("key").unwrap().as_deref(), Some(&b"value"[..]));
}

#[tokio::test]
async fn an_increment_of_a_value_that_is_not_a_number_is_refused() {
    let (_, pond) = memory();
    let id = ran(&pond, set(&format!("{COUNT} {CHECK} {DONE}")), "no number").await;
    // Case 4: other.
    assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some("4"));
    assert_eq!(kept(&pond), []);
}

#[tokio::test]
async fn keys_values_and_writes_are_limited() {
    let cases = [
        (PluginLimits::default().state_key_bytes(2), "0"),
        (PluginLimits::default().state_value_bytes(4), "1"),
        (PluginLimits::default().state_writes(0), "2"),
        (PluginLimits::default().state_keys(0), "2"),
        (PluginLimits::default().state_bytes(7), "2"),
    ];
    for (limits, case) in cases {
        let (_, pond) = memory();
        let id = ran(&pond, set(DONE).limits(limits.clone()), "value").await;
        assert_eq!(pond.job(id).unwrap().reason.as_deref(), Some(case), "{limits:?}");
        assert_eq!(kept(&pond), []);
    }
}

#[tokio::test]
async fn a_quota_also_holds_for_concurrent_jobs() {
    // Each finds room for its own key, named as its payload. There is room for three.
    let body = "(call $set (local.get $p) (local.get $n) (i32.const 0) (i32.const 0) (i32.const 256))
        (call $ok (i32.const 0) (i32.const 0))";
    let (_, pond) = memory();
    let limits = PluginLimits::default().state_keys(3);
    let worker = pond.worker("q").concurrency(10).retry(Retry::none());
    worker.handle_wasm("job", plugin(body).limits(limits)).start().unwrap();
    pond.enqueue_many("q", ["a", "b", "c", "d", "e"].map(|key| NewJob::raw("job", key))).await.unwrap();
    drained(&pond).await;
    assert!(kept(&pond).len() <= 3, "{:?}", kept(&pond));
    assert_sound(&pond).await;
}

#[tokio::test]
async fn two_plugins_do_not_see_each_others_keys() {
    let (_, pond) = memory();
    ran(&pond, set(DONE), "value").await;
    let get = module_with(
        "(call $get (i32.const 1024) (i32.const 3) (i32.const 256)) (call $ok (i32.const 260) (i32.const 1))",
        r#"(data (i32.const 1024) "key")"#,
    );
    pond.worker("o").handle_wasm("job", Plugin::from_bytes("other", get).unwrap()).start().unwrap();
    let id = pond.enqueue("o", NewJob::raw("job", "")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.job(id).unwrap().result.as_deref(), Some(&[0][..]), "none");
}

#[tokio::test]
async fn an_increment_that_exceeds_the_quota_at_the_commit_is_a_failed_attempt() {
    let (_, pond) = memory();
    let limits = PluginLimits::default().state_keys(0);
    let counts = with_key(&format!("{COUNT} {DONE}")).limits(limits);
    let id = ran(&pond, counts, "").await;
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Retrying, FailureKind::Error));
    assert!(job.errors[0].message.contains("above its quota"), "{}", job.errors[0].message);
    assert_eq!(kept(&pond), []);
}
