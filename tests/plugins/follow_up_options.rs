//! The options of follow-up jobs that version 0.1.1 of the contract has added, and batches of them.

use millpond::{Grant, JobFilter, JobInfo, Millpond, NewJob, Plugin, PluginLimits, Retry, State, Unique};

use super::built::hostile;
use super::guest::module_with;
use super::outcomes::ran;
use crate::support::*;

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

fn jobs(pond: &Millpond, kind: &str) -> Vec<JobInfo> {
    pond.jobs(&JobFilter::new().kind(kind), None, 1_000).unwrap().jobs
}

#[tokio::test]
async fn each_option_of_a_follow_up_is_stored_with_it() {
    let (clock, pond) = memory();
    let now = millpond::Clock::wall(&clock);
    let grant = |kind: &str| Grant::enqueue(kind).to_queue("follow-ups");
    let everything = hostile("everything").grant(grant("follow-up")).grant(grant("newer"));
    ran(&pond, everything, "x").await;
    let jobs = jobs(&pond, "newer");
    let by_key = |key: &str| jobs.iter().find(|job| job.unique_key.as_deref() == Some(key)).unwrap();
    let held = by_key("held");
    assert_eq!((&held.tags[..], held.headers["tenant"].as_str()), (&["a tag".to_owned()][..], "ada"));
    assert_eq!((held.expires_at, held.weight, held.unique), (Some(now + MINUTE), 2, Some(Unique::until_ended())));
    let mode = |key: &str| by_key(key).unique.unwrap();
    assert_eq!(mode("started"), Unique::until_started().replace());
    assert_eq!(mode("window"), Unique::throttle(MINUTE));
    assert_eq!(mode("latest"), Unique::keep_latest());
    assert_eq!(mode("quiet"), Unique::until_started().debounce(MINUTE, MINUTE));
    assert_eq!(by_key("quiet").run_at, Some(now + MINUTE));
    assert_eq!(jobs.len(), 5);
    // The key is held no longer than the job, because `unique_for` is zero.
    let again = || NewJob::raw("newer", "").unique_key("held");
    assert!(!pond.enqueue("follow-ups", again()).await.unwrap().is_stored());
    pond.worker("follow-ups").handle_raw("newer", |_: millpond::Job<bytes::Bytes>| async { Ok(()) }).start().unwrap();
    drained(&pond).await;
    assert!(pond.enqueue("follow-ups", again()).await.unwrap().is_stored());
}

/// What the guest `label_flood` is answered.
async fn answers(pond: &Millpond, what: &'static str) -> Vec<String> {
    let id = ran(pond, hostile("label_flood").grant(Grant::enqueue("follow-up")), what).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{what}: {job:?}");
    job.result_json().unwrap().unwrap()
}

#[tokio::test]
async fn hostile_tags_headers_and_keys_are_refused_by_an_error() {
    let other = |text: &str| text.starts_with("Error::Other(");
    for (what, refused) in [
        ("large tag", &[true][..]),
        ("large header", &[true, true]),
        ("control characters", &[true, false]),
        ("empty", &[true, true]),
        ("many tags", &[true]),
        ("same tag", &[false]),
        ("many headers", &[true]),
        ("same header", &[false]),
        ("numbers", &[true, true, false]),
        ("unique", &[true, true, true, false, true, true, true, true, true, true, true, true, true, true]),
    ] {
        let (_, pond) = memory();
        let answers = answers(&pond, what).await;
        let are_refused: Vec<bool> = answers.iter().map(|answer| other(answer)).collect();
        assert_eq!(are_refused, refused, "{what}: {answers:?}");
        let stored = refused.iter().filter(|refused| !**refused).count();
        assert_eq!(jobs(&pond, "follow-up").len(), stored, "{what}");
        assert_sound(&pond).await;
    }
}

#[tokio::test]
async fn a_million_headers_end_the_attempt_at_its_limit_of_calls() {
    let (_, pond) = memory();
    let id = ran(&pond, hostile("label_flood").grant(Grant::enqueue("follow-up")), "endless headers").await;
    assert_eq!(pond.job(id).unwrap().errors[0].kind, millpond::FailureKind::CallLimit);
}

#[tokio::test]
async fn tags_and_headers_count_toward_the_bytes_of_follow_ups() {
    let (_, pond) = memory();
    assert_eq!(answers(&pond, "many jobs").await, ["enqueued", "RefusedJob { index: 0, error: Error::QuotaExceeded }"]);
    let (_, pond) = memory();
    let limits = PluginLimits::default().follow_up_bytes(64);
    let plugin = hostile("label_flood").grant(Grant::enqueue("follow-up")).limits(limits);
    let id = ran(&pond, plugin, "same tag").await;
    assert_eq!(pond.job(id).unwrap().result_json::<Vec<String>>().unwrap().unwrap(), ["Error::QuotaExceeded"]);
}

#[tokio::test]
async fn a_batch_is_enqueued_as_a_whole_or_not_at_all() {
    let (_, pond) = memory();
    assert_eq!(answers(&pond, "batch").await, ["1 true", "100 true", "enqueued", "enqueued"]);
    assert_eq!(jobs(&pond, "follow-up").len(), 2, "the refused batches have left nothing");
    let (_, pond) = memory();
    let limits = PluginLimits::default().follow_ups(2_000);
    let plugin = hostile("label_flood").grant(Grant::enqueue("follow-up")).limits(limits);
    let id = ran(&pond, plugin, "handles").await;
    assert_eq!(pond.job(id).unwrap().errors[0].kind, millpond::FailureKind::Trap);
}

/// Enqueues its payload as a job of kind "next" with the unique key "next", which replaces a job that waits.
fn replaces() -> Plugin {
    let body = r#"(local.set $i (call $new_job (i32.const 1024) (i32.const 4) (local.get $p) (local.get $n)))
        (call $set_unique_key (local.get $i) (i32.const 1024) (i32.const 4))
        (call $set_unique_replace (local.get $i))
        (call $enqueue (local.get $i) (i32.const 256))
        (call $ok (i32.const 0) (i32.const 0))"#;
    Plugin::from_bytes("guest", module_with(body, r#"(data (i32.const 1024) "next")"#)).unwrap()
}

#[tokio::test]
async fn a_follow_up_replaces_only_a_job_of_a_kind_that_the_plugin_is_granted() {
    for (kind, payload) in [("next", "new"), ("another", "old")] {
        let (_, pond) = memory();
        let waits = NewJob::raw(kind, "old").unique_key("next").delay(HOUR);
        let there = pond.enqueue("q", waits).await.unwrap();
        let plugin = replaces().grant(Grant::enqueue("next"));
        pond.worker("q").retry(Retry::none()).handle_wasm("job", plugin).start().unwrap();
        pond.enqueue("q", NewJob::raw("job", "new")).await.unwrap();
        drained(&pond).await;
        let job = pond.job(there).unwrap();
        assert_eq!((job.kind.as_str(), &job.payload.bytes[..]), (kind, payload.as_bytes()));
        assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
        assert_sound(&pond).await;
    }
}
