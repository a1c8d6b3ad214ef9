//! Other jobs and other plugins find nothing that a job leaves behind.

use super::*;
use crate::built::{file, hostile};
use crate::guest::plugin;
use crate::support::on_event::on_plugin_line;

/// The results of these jobs, which run one after the other.
async fn results(pond: &Millpond, queue: &str, plugin: Plugin, payloads: &[&'static str]) -> Vec<String> {
    let worker = pond.worker(queue).concurrency(1).retry(Retry::none());
    let worker = worker.handle_wasm("job", plugin).start().unwrap();
    let ids = pond
        .enqueue_many(queue, payloads.iter().map(|payload| NewJob::raw("job", *payload).group("one")))
        .await
        .unwrap();
    drained(pond).await;
    worker.stop();
    let result = |id| pond.job(id).unwrap().result.map_or("-".into(), |r| String::from_utf8(r.into()).unwrap());
    ids.into_iter().map(result).collect()
}

#[tokio::test]
async fn a_trap_leaves_nothing_for_the_next_job() {
    let jobs = [r#""a""#, r#""b""#, r#""trap""#, r#""c""#];
    let (_, pond) = memory();
    let fresh = results(&pond, "q", hostile("trap_then_reuse"), &jobs).await;
    assert_eq!(fresh, ["[1,false]", "[1,false]", "-", "[1,false]"]);
    let reused = results(&pond, "q", hostile("trap_then_reuse").reuse(9), &jobs).await;
    assert_eq!(reused, ["[1,false]", "[2,false]", "-", "[1,false]"]);
    assert_eq!(kept(&pond), [], "what it wrote before the trap is dropped");
    assert_unaffected(&pond).await;
}

#[tokio::test]
async fn no_other_plugin_finds_a_secret() {
    let (_, pond) = memory();
    let both = [r#""first""#, r#""second""#];
    let own = results(&pond, "q", hostile("state_bleed"), &both).await;
    assert_eq!(own, ["[null,null]", r#"[null,"first"]"#], "the memory is fresh, and the state is the plugin's own");
    let bytes = file("tests/guests/built/state_bleed.wasm");
    let other = results(&pond, "o", Plugin::from_bytes("other", bytes).unwrap(), &both[..1]).await;
    assert_eq!(other, ["[null,null]"]);
    // Only a plugin that is set to reuse instances has the same memory again.
    let (_, pond) = memory();
    let reused = results(&pond, "q", hostile("state_bleed").reuse(9), &both).await;
    assert_eq!(reused, ["[null,null]", r#"["first","first"]"#]);
}

#[tokio::test]
async fn the_bits_of_no_number_are_the_same_each_time_on_this_machine() {
    let (_, pond) = memory();
    let plugin = hostile("nondeterminism");
    let bits = results(&pond, "q", plugin.clone(), &["", ""]).await;
    assert_eq!(bits[0], bits[1]);
    assert!(bits[0].starts_with('['), "{bits:?}");
    // A clone shares the compiled code, except if this setting differs.
    let canonical = results(&pond, "c", plugin.canonical_nan(), &[""]).await;
    let double = f64::NAN.to_bits();
    assert_eq!(canonical, [format!("[{double},{double},{double},{}]", f32::NAN.to_bits())]);
}

#[tokio::test]
async fn a_panic_in_the_host_is_a_failed_attempt() {
    let (_, pond) = memory();
    let logs = plugin("(call $log (i32.const 2) (i32.const 0) (i32.const 0)) (call $ok (i32.const 0) (i32.const 0))");
    pond.worker("q").retry(Retry::none()).handle_wasm("job", logs).start().unwrap();
    // A log statement that is reached for the first time while a subscriber is being installed may not reach that
    // subscriber.
    pond.enqueue("q", NewJob::raw("job", "")).await.unwrap();
    drained(&pond).await;
    let subscriber = tracing::subscriber::set_default(on_plugin_line(|_| panic!("the subscriber panics")));
    let id = pond.enqueue("q", NewJob::raw("job", "")).await.unwrap();
    drained(&pond).await;
    drop(subscriber);
    let job = pond.job(id).unwrap();
    assert_eq!((job.state, job.errors[0].kind), (State::Dead, FailureKind::Panic), "{job:?}");
    assert!(job.errors[0].message.contains("the subscriber panics"), "{}", job.errors[0].message);
    pond.enqueue("q", NewJob::raw("job", "")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 2);
    assert_unaffected(&pond).await;
}
