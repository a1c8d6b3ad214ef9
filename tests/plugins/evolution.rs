//! Guests of other versions of the contract: a compatible guest always runs, and the refusal of any other names what
//! is missing.

use std::collections::BTreeSet;

use millpond::{Binding, Grant, JobFilter, Millpond, NewJob, Plugin, PluginError, State};

use super::built::{file, from_bytes, hostile, register};
use super::state::kept;
use super::told;
use crate::support::*;

fn of_version(name: &str) -> Plugin {
    from_bytes(file(&format!("tests/guests/evolution/{name}.wasm")))
}

fn refused(name: &str) -> String {
    register(Ok(of_version(name))).unwrap_err().to_string()
}

fn unknown_import(name: &str) -> String {
    match register(Ok(of_version(name))) {
        Err(PluginError::UnknownImport { import }) => import,
        other => panic!("{name}: {other:?}"),
    }
}

/// Each of the small guests logs "newer" and completes.
async fn assert_runs(name: &str) {
    let (_, pond) = memory();
    assert_eq!(told::lines(&pond, of_version(name), "payload").await, ["newer"], "{name}");
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1, "{name}");
}

/// What a guest that calls every function of its version tells, from a job with tags, headers and a group.
async fn everything(guest: Plugin) -> (Millpond, Vec<String>) {
    let (_, pond) = memory();
    let grant = |kind: &str| Grant::enqueue(kind).to_queue("follow-ups");
    let guest = guest.config("setting", "as set").grant(Grant::rate_limit());
    let guest = guest.grant(grant("follow-up")).grant(grant("newer"));
    let guest =
        guest.grant(Grant::append("newer").to_stream("stream")).grant(Grant::publish("newer").to_topic("topic"));
    pond.topic("topic").unwrap().bind(Binding::to_stream("published")).await.unwrap();
    pond.worker("q").handle_wasm("job", guest).start().unwrap();
    let job = NewJob::raw("job", "payload").group("orders").tag("a").tag("b").header("tenant", "ada").header("n", "");
    let id = pond.enqueue("q", job).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.state, State::Completed, "{job:?}");
    let told = job.result_json().unwrap().unwrap();
    (pond, told)
}

const OF_0_1_0: [&str; 6] = ["1 of 5", "1 job q", "false true", "value 2 true", "true 8 true", "as set"];
const OF_0_1_1: [&str; 3] =
    [r#"5 Some("orders") 5 true"#, r#"["a", "b"] Some("ada") n= tenant=ada"#, "true None false"];
const OF_0_1_2: &str = "7 None true";
const OF_0_1_3: &str = "None Ok(()) Ok(())";

#[tokio::test]
async fn a_guest_of_the_first_version_can_call_every_function() {
    let (pond, told) = everything(of_version("everything-0.1.0")).await;
    assert_eq!(told, OF_0_1_0);
    let counter = ("guest".to_owned(), "counter".to_owned(), "2".to_owned());
    assert_eq!(kept(&pond), [counter]);
    let jobs = pond.jobs(&JobFilter::new().queue("follow-ups"), None, 10).unwrap().jobs;
    let [next] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((next.kind.as_str(), next.state, next.max_attempts), ("follow-up", State::Scheduled, Some(2)));
    assert_eq!((next.group.as_deref(), next.unique_key.as_deref()), (Some("group"), Some("unique")));
}

#[tokio::test]
async fn a_guest_of_the_second_version_can_call_every_function() {
    let (pond, told) = everything(of_version("everything-0.1.1")).await;
    assert_eq!(told, [&OF_0_1_0[..], &OF_0_1_1].concat());
    let jobs = pond.jobs(&JobFilter::new().queue("follow-ups"), None, 10).unwrap().jobs;
    assert_eq!(jobs.len(), 6, "{jobs:?}");
}

#[tokio::test]
async fn a_guest_of_the_third_version_can_call_every_function() {
    let (pond, told) = everything(of_version("everything-0.1.2")).await;
    assert_eq!(told, [&OF_0_1_0[..], &OF_0_1_1, &[OF_0_1_2]].concat());
    assert_eq!(pond.jobs(&JobFilter::new().queue("follow-ups"), None, 10).unwrap().jobs.len(), 6);
}

#[tokio::test]
async fn a_guest_of_the_fourth_version_can_call_every_function() {
    let (pond, told) = everything(of_version("everything-0.1.3")).await;
    assert_eq!(told, [&OF_0_1_0[..], &OF_0_1_1, &[OF_0_1_2, OF_0_1_3]].concat());
    for stream in ["stream", "published"] {
        let entries = pond.stream(stream).unwrap().read(0, 10).unwrap();
        assert_eq!((entries.len(), entries[0].key.as_deref()), (1, Some("key")), "{stream}");
    }
}

/// The functions that the contract has gained after its first version, by their names alone.
fn newer_functions() -> BTreeSet<String> {
    let wit = String::from_utf8(file("wit/jobs.wit")).unwrap();
    let after_since = wit.split("@since(version = ").skip(1).filter(|item| !item.starts_with("0.1.0)"));
    let functions = after_since.filter_map(|item| {
        let (_, item) = item.split_once(')')?;
        let (name, _) = item.split_once(": func(")?;
        Some(name.trim().to_owned()).filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
    });
    functions.collect()
}

#[test]
fn a_guest_that_uses_nothing_new_imports_nothing_new() {
    let newer = newer_functions();
    assert!(
        newer.contains("set-rate-limited")
            && newer.contains("add-tag")
            && newer.contains("enqueue-many")
            && newer.contains("wait-for"),
        "{newer:?}"
    );
    assert!(!newer.contains("is-cancelled") && !newer.contains("enqueue"), "{newer:?}");
    let uses = |guest: Plugin| {
        let imports = guest.check().unwrap().imports;
        let functions = imports.into_iter().flat_map(|import| import.functions);
        functions.filter(|function| newer.contains(function.trim_start_matches("[method]new-job."))).collect::<Vec<_>>()
    };
    let example = |path: &str| from_bytes(file(&format!("guest-examples/{path}.wasm")));
    let examples =
        ["rust-noop/noop", "rust-thumbnail/thumbnail", "rust-webhook-filter/webhook-filter", "c-crc32/crc32"];
    for path in examples {
        assert_eq!(uses(example(path)), [""; 0], "{path} needs a host that is newer than 0.1.0");
    }
    assert_eq!(uses(hostile("fork_bomb")), [""; 0], "a follow-up without new options");
    assert_eq!(uses(hostile("until_cancelled")), ["set-rate-limited-queue"]);
    assert_eq!(uses(hostile("steps_as_told")), ["begin", "finish", "sleep", "wait-for", "get-result"]);
    let transform = ["get-stream", "get-offset", "get-key", "append"];
    let of_transform = uses(example("rust-transform/transform"));
    assert!(transform.iter().all(|function| of_transform.iter().any(|uses| uses == function)), "{of_transform:?}");
    assert!(!of_transform.iter().any(|uses| uses == "publish" || uses == "enqueue-many"), "{of_transform:?}");
    assert!(uses(hostile("everything")).len() > 15);
}

#[tokio::test]
async fn a_newer_guest_that_uses_nothing_new_runs() {
    assert_runs("newer_unused").await;
}

#[tokio::test]
async fn a_newer_guest_that_does_not_call_a_new_setter_runs() {
    let granted = of_version("older_setters");
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
    assert!(reason.contains("millpond:jobs/outbound-http@0.1.3"), "{reason}");
}

/// A guest of the same version as the host, for comparison with the others.
#[tokio::test]
async fn a_guest_of_the_current_version_runs() {
    let (_, told) = everything(hostile("everything")).await;
    assert_eq!(told, [&OF_0_1_0[..], &OF_0_1_1, &[OF_0_1_2, OF_0_1_3]].concat());
}
