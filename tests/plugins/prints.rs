//! Guests that were built for WASI: what they print is logged, the last line is in the error, and nothing else of
//! WASI exists.

use millpond::{FailureKind, Grant, NewJob, Plugin, PluginError, PluginLimits, Retry, State};

use super::built::{hostile, register, register_bytes};
use super::outcomes::info;
use super::told::lines;
use crate::support::*;

/// The program in C: a core module, built for WASI as it was before components.
fn prints() -> Plugin {
    hostile("prints").grant(Grant::stdio())
}

/// The one in JavaScript: a component with its own interpreter.
fn throws() -> Plugin {
    hostile("throws").grant(Grant::stdio())
}

#[test]
fn a_plugin_without_the_grant_is_refused_with_the_name_of_the_import() {
    let missing = |name| match register(Ok(hostile(name))) {
        Err(PluginError::MissingGrant { import, grant }) => (import, grant),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing("prints"), ("wasi_snapshot_preview1".into(), "Grant::stdio()"));
    let (import, grant) = missing("throws");
    assert_eq!((import.starts_with("wasi:cli/"), grant), (true, "Grant::stdio()"), "{import}");
    assert_eq!(register(Ok(prints())), Ok(()));
    assert_eq!(register(Ok(throws())), Ok(()));
}

#[test]
fn other_wasi_imports_are_refused_with_the_grant_too() {
    for import in ["wasi:http/types@0.2.0", "wasi:cli/stdout@0.3.0", "wasi:cli/stdout", "wasi:nn/graph@0.2.0"] {
        let component = format!(r#"(component (import "{import}" (instance)))"#);
        let plugin = Plugin::from_bytes("guest", wat::parse_str(&component).unwrap());
        let reason = register(plugin.map(|plugin| plugin.grant(Grant::stdio())));
        assert_eq!(reason, Err(PluginError::UnknownImport { import: import.into() }));
    }
    assert!(register_bytes(b"\0asm\x0d\0\x01\0".to_vec()).is_err());
}

#[tokio::test]
async fn printed_text_is_logged_line_by_line() {
    let (_, pond) = memory();
    let logged = lines(&pond, prints(), "print").await;
    assert_eq!(logged, ["one", r"two\u{1b}[2J", "three", "not ended"]);
}

#[tokio::test]
async fn printed_text_counts_towards_the_log_limits() {
    let (_, pond) = memory();
    let few = prints().limits(PluginLimits::default().log_lines(3));
    let logged = lines(&pond, few, "flood").await;
    assert_eq!(logged.len(), 4, "{logged:?}");
    assert_eq!(logged[3], "4997 more lines were dropped: over the limit");
}

#[tokio::test]
async fn the_last_printed_line_is_in_the_error_of_an_attempt_that_traps() {
    let job = info(prints(), "abort").await;
    let error = &job.errors[0];
    assert_eq!((job.state, error.kind), (State::Retrying, FailureKind::Trap));
    let said = r": assertion failed: \u{1b}[31mwidth > 0\u{1b}[0m, at prints.c";
    assert!(error.message.contains("unreachable") && error.message.ends_with(said), "{}", error.message);

    let job = info(prints(), "long").await;
    let message = &job.errors[0].message;
    assert!(message.ends_with(r"line 0998 of a long story\nline 0999 of a long story"), "{message}");
    assert!((3_000..4_096).contains(&message.len()), "{}", message.len());
}

#[tokio::test]
async fn an_uncaught_javascript_error_is_the_error_of_the_attempt() {
    let job = info(throws(), "abcd").await;
    let error = &job.errors[0];
    assert_eq!((job.state, error.kind), (State::Retrying, FailureKind::Trap));
    assert!(error.message.contains("no such field: width"), "{}", error.message);
}

#[tokio::test]
async fn a_plugin_sees_no_environment_no_files_and_no_input() {
    let job = info(prints(), "look").await;
    let result = String::from_utf8(job.result.unwrap().to_vec()).unwrap();
    assert_eq!(result, "path none, file none, input -1, time yes, random 0");
}

#[tokio::test]
async fn a_plugin_that_exits_or_sleeps_traps() {
    for (payload, why) in [("exit", "it ended itself with a failure"), ("sleep", "it sleeps, which plugins cannot do")]
    {
        let job = info(prints(), payload).await;
        let error = &job.errors[0];
        assert_eq!((job.state, error.kind), (State::Retrying, FailureKind::Trap), "{payload}");
        assert!(error.message.contains(why), "{}", error.message);
    }
}

#[tokio::test]
async fn each_wasi_call_is_counted() {
    let job = info(prints().limits(PluginLimits::default().host_calls(10)), "flood").await;
    assert_eq!(job.errors[0].kind, FailureKind::CallLimit);
}

#[tokio::test]
async fn printed_text_of_one_job_is_not_in_the_error_of_the_next() {
    let (_, pond) = memory();
    pond.worker("q").concurrency(1).retry(Retry::none()).handle_wasm("job", prints().reuse(10)).start().unwrap();
    let jobs = [NewJob::raw("job", "print"), NewJob::raw("job", "exit")];
    let ids = pond.enqueue_many("q", jobs).await.unwrap();
    drained(&pond).await;
    let message = pond.job(ids[1]).unwrap().errors[0].message.clone();
    assert!(!message.contains("three"), "{message}");
}
