//! Each limit of a plugin holds: an attempt that exceeds it ends with an error that names it.

use millpond::{FailureKind, JobInfo, NewJob, Plugin, PluginLimits, State};

use super::guest::{self, module_with, plugin};
use super::outcomes::{info, ran};
use crate::support::*;

fn limits() -> PluginLimits {
    PluginLimits::default()
}

async fn failed(plugin: Plugin) -> (FailureKind, String) {
    let job: JobInfo = info(plugin, "payload").await;
    assert_eq!(job.state, State::Retrying, "{job:?}");
    (job.errors[0].kind, job.errors[0].message.clone())
}

const GROW: &str = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";

#[tokio::test]
async fn an_attempt_over_its_memory_limit_is_ended() {
    let (kind, message) = failed(plugin(GROW).limits(limits().memory_bytes(4 << 20))).await;
    assert_eq!(kind, FailureKind::MemoryLimit);
    assert_eq!(message, "it asked for 4325376 bytes of memory, its limit is 4194304");
}

#[tokio::test]
async fn the_memory_limit_applies_to_the_sum_of_all_memories() {
    let body = r#"
        (drop (memory.grow $other (i32.const 40)))
        (drop (memory.grow 0 (i32.const 40)))
        unreachable"#;
    let two = module_with(body, "(memory $other 1)");
    let plugin = |limits| Plugin::from_bytes("guest", two.clone()).unwrap().limits(limits);
    assert_eq!(failed(plugin(limits().memory_bytes(4 << 20))).await.0, FailureKind::MemoryLimit);
    assert_eq!(failed(plugin(limits().memory_bytes(8 << 20))).await.0, FailureKind::Trap);
}

#[tokio::test]
async fn an_attempt_over_its_limit_of_table_elements_is_ended() {
    let body = "(drop (table.grow $t (ref.null func) (i32.const 5000))) unreachable";
    let module = module_with(body, "(table $t 1 funcref)");
    let plugin = |limits| Plugin::from_bytes("guest", module.clone()).unwrap().limits(limits);
    let (kind, message) = failed(plugin(limits().table_elements(1_000))).await;
    assert_eq!(
        (kind, message.as_str()),
        (FailureKind::MemoryLimit, "it asked for 5001 elements in its tables, its limit is 1000")
    );
    assert_eq!(failed(plugin(limits())).await.0, FailureKind::Trap);
}

#[tokio::test]
async fn a_stack_overflow_is_a_trap() {
    let recursion = module_with("(call $deeper) unreachable", "(func $deeper (call $deeper) (call $deeper))");
    let (kind, message) = failed(Plugin::from_bytes("guest", recursion).unwrap()).await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("call stack exhausted"), "{message}");
}

#[tokio::test]
async fn an_output_over_its_limit_is_refused() {
    let big = |len: u32| plugin(&format!("(call $ok (i32.const 0) (i32.const {len}))"));
    let (kind, message) = failed(big(2_000).limits(limits().output_bytes(1_000))).await;
    assert_eq!((kind, message.as_str()), (FailureKind::OutputTooLarge, "it returned 2000 bytes, its limit is 1000"));
    // An output above the limit of one call is not copied.
    let (kind, message) = failed(big(100_000).limits(limits().output_bytes(1_000).call_bytes(50_000))).await;
    assert_eq!(kind, FailureKind::OutputTooLarge);
    assert_eq!(message, "it passed more than 50000 bytes to the host at once");
    let job = info(big(2_000), "x").await;
    assert_eq!((job.state, job.result.map(|result| result.len())), (State::Completed, Some(2_000)));
}

#[tokio::test]
async fn the_bytes_of_one_call_to_the_host_are_limited() {
    let log = "(call $log (i32.const 2) (i32.const 0) (i32.const 100000)) unreachable";
    let (kind, _) = failed(plugin(log).limits(limits().call_bytes(50_000).output_bytes(0))).await;
    assert_eq!(kind, FailureKind::OutputTooLarge);
    assert_eq!(failed(plugin(log)).await.0, FailureKind::Trap);
}

#[tokio::test]
async fn the_number_of_calls_to_the_host_is_limited() {
    let calls = |n| {
        plugin(&format!(
            "(loop $more (drop (call $number)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $more (i32.lt_u (local.get $i) (i32.const {n}))))
             (call $ok (i32.const 0) (i32.const 1))"
        ))
    };
    let (kind, message) = failed(calls(101).limits(limits().host_calls(100))).await;
    assert_eq!((kind, message.as_str()), (FailureKind::CallLimit, "it made more than 100 calls to the host"));
    assert_eq!(info(calls(100).limits(limits().host_calls(100)), "x").await.state, State::Completed);
}

#[tokio::test]
async fn resources_that_are_never_dropped_end_in_a_trap() {
    let leak = "(loop $more (drop (call $new_job (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (br $more)) unreachable";
    let (kind, message) = failed(plugin(leak)).await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("table") || message.contains("handles"), "{message}");
}

#[tokio::test]
async fn another_plugin_runs_beside_a_plugin_that_never_returns() {
    let (clock, pond) = crate::support::memory();
    let spins = plugin(guest::SPIN).limits(limits().time(SECOND));
    pond.worker("spin").concurrency(4).handle_wasm("job", spins).start().unwrap();
    pond.enqueue_many("spin", (0..4).map(|_| NewJob::raw("job", "x"))).await.unwrap();
    running(&pond, "spin", 4).await;
    let id = ran(&pond, plugin(guest::ECHO), "neighbour");
    let id = tokio::select! {
        id = id => id,
        // The attempts that never return end only when their time is over, so `drained` waits for that.
        _ = async { loop { tokio::task::yield_now().await; if pond.queue("q").is_ok_and(|q| q.counts().completed == 1) { break } } } => {
            clock.advance(SECOND);
            drained(&pond).await;
            millpond::JobId::new(5)
        }
    };
    assert_eq!(pond.job(id).unwrap().state, State::Completed);
    assert_eq!(pond.queue("spin").unwrap().counts().failures_total, 4);
}

#[tokio::test]
async fn a_log_is_cut_off_at_its_limits_of_lines_and_bytes_and_says_so() {
    let flood = "(loop $more (call $log (i32.const 2) (local.get $p) (local.get $n))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $i) (i32.const 50))))
        (call $log (i32.const 2) (i32.const 0) (i32.const 0)) (drop (call $is_cancelled))
        unreachable";
    for (limits, kept) in [(limits().log_lines(10), 10), (limits().log_bytes(35), 5)] {
        let (_, pond) = crate::support::memory();
        let lines = super::told::lines(&pond, plugin(flood).limits(limits), "payload").await;
        assert_eq!(lines.iter().filter(|line| *line == "payload").count(), kept, "{lines:?}");
        assert!(lines.last().unwrap().ends_with("more lines were dropped: over the limit"), "{lines:?}");
    }
}
