//! Guests of other versions of the contract: a compatible guest always runs, and the refusal of any other names what
//! is missing.

use millpond::{Grant, JobFilter, NewJob, Plugin, PluginError, State};

use super::built::{file, from_bytes, hostile, register};
use super::outcomes::info;
use super::state::kept;
use super::told;
use crate::support::*;

fn guest(name: &str) -> Plugin {
    from_bytes(file(&format!("tests/guests/evolution/{name}.wasm")))
}

fn refused(name: &str) -> String {
    register(Ok(guest(name))).unwrap_err().to_string()
}

fn unknown_import(name: &str) -> String {
    match register(Ok(guest(name))) {
        Err(PluginError::UnknownImport { import }) => import,
        other => panic!("{name}: {other:?}"),
    }
}

/// Each of the small guests logs "newer" and completes.
async fn assert_runs(name: &str) {
    let (_, pond) = memory();
    assert_eq!(told::lines(&pond, guest(name), "payload").await, ["newer"], "{name}");
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1, "{name}");
}

#[tokio::test]
async fn a_guest_of_the_first_version_can_call_every_function() {
    let (_, pond) = memory();
    let guest = guest("everything-0.1.0").config("setting", "as set");
    let guest = guest.grant(Grant::enqueue("follow-up").to_queue("follow-ups"));
    pond.worker("q").handle_wasm("job", guest).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", "payload")).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    let told: Vec<String> = serde_json::from_slice(&job.result.unwrap()).unwrap();
    let expected = ["1 of 5", "1 job q", "false true", "value 2 true", "true 8 true", "as set"];
    assert_eq!(told, expected);
    let counter = ("guest".to_owned(), "counter".to_owned(), "2".to_owned());
    assert_eq!(kept(&pond), [counter]);
    let jobs = pond.jobs(&JobFilter::new().queue("follow-ups"), None, 10).unwrap().jobs;
    let [next] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((next.kind.as_str(), next.state, next.max_attempts), ("follow-up", State::Scheduled, Some(2)));
    assert_eq!((next.group.as_deref(), next.unique_key.as_deref()), (Some("group"), Some("unique")));
}

#[tokio::test]
async fn a_newer_guest_that_uses_nothing_new_runs() {
    assert_runs("newer_unused").await;
}

#[tokio::test]
async fn a_newer_guest_that_does_not_call_a_new_setter_runs() {
    let granted = guest("older_setters");
    let (_, pond) = memory();
    told::lines(&pond, granted, "payload").await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1);
}

#[tokio::test]
async fn a_second_export_is_not_called() {
    assert_runs("second_export").await;
}

#[test]
fn a_newer_function_is_refused_by_its_name() {
    let import = unknown_import("newer_function");
    assert!(import.contains("millpond:jobs/log@0.1.9") && import.contains("flush"), "{import}");
}

#[test]
fn a_newer_interface_is_refused_by_its_name() {
    assert_eq!(unknown_import("newer_interface"), "millpond:jobs/metrics@0.1.9");
}

#[test]
fn a_newer_setter_is_refused_by_its_name() {
    let import = unknown_import("newer_setter");
    assert!(import.contains("millpond:jobs/enqueue@0.1.9") && import.contains("set-label"), "{import}");
}

#[test]
fn an_added_variant_case_makes_another_handler_type() {
    let reason = refused("newer_case");
    assert!(reason.contains("another type"), "{reason}");
}

#[test]
fn another_contract_is_refused_with_its_version() {
    let reason = refused("other_contract");
    assert!(reason.contains("@0.2.0"), "{reason}");
}

#[test]
fn unstable_interfaces_are_refused_unless_they_are_granted() {
    let reason = register(Ok(hostile("fetch"))).unwrap_err().to_string();
    assert!(reason.contains("millpond:jobs/outbound-http@0.1.0"), "{reason}");
}

/// A guest of the same version as the host, for comparison with the others.
#[tokio::test]
async fn a_guest_of_the_current_version_runs() {
    let job = info(hostile("everything").grant(Grant::enqueue("follow-up").to_queue("follow-ups")), "x").await;
    assert_eq!(job.state, State::Completed, "{job:?}");
}
