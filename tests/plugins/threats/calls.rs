//! Calls to the host: their number, their size and their arguments.

use millpond::{FailureKind, Grant};

use super::*;
use crate::built::hostile;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_giant_argument_is_not_copied() {
    let (kind, message) = failure(hostile("giant_argument"), "").await;
    assert_eq!(kind, FailureKind::OutputTooLarge);
    assert!(message.starts_with("it passed more than 2097152 bytes to the host at once"), "{message}");
}

#[tokio::test]
async fn a_giant_argument_within_the_call_limit_is_refused_by_each_call() {
    let limits = limits().call_bytes(32 * MIB).memory_bytes(256 * MIB);
    let job = contained(hostile("giant_argument").limits(limits).grant(Grant::enqueue("follow-up")), "").await;
    assert_eq!(job.result.as_deref(), Some(&b"[true,true,true,true]"[..]), "{job:?}");
}

#[tokio::test]
async fn a_giant_result_is_refused() {
    let (kind, message) = failure(hostile("giant_return"), "8").await;
    assert_eq!(kind, FailureKind::OutputTooLarge);
    assert!(message.starts_with("it passed more than 2097152 bytes to the host at once"), "{message}");
    let wide = limits().call_bytes(16 * MIB);
    let (kind, message) = failure(hostile("giant_return").limits(wide.clone()), "8").await;
    assert_eq!(kind, FailureKind::OutputTooLarge);
    assert_eq!(message, "it returned 8388608 bytes, its limit is 1048576");
    assert_eq!(result(hostile("giant_return").limits(wide.output_bytes(8 * MIB)), "8").await.len(), 8 * MIB);
}

#[tokio::test]
async fn a_giant_reason_is_refused_or_cut_off() {
    assert_eq!(failure(hostile("giant_return"), "-8").await.0, FailureKind::OutputTooLarge);
    assert_eq!(reason(hostile("giant_return"), "-1").await.len(), 4 << 10);
}

#[tokio::test]
async fn calls_are_counted_whatever_they_call() {
    for what in ["log", "clock", "attempt", "config", "progress", "random", "state-get"] {
        for calls in [100, 1_000] {
            let counted = hostile("call_amplification").limits(limits().host_calls(calls));
            let (kind, message) = failure(counted, format!("{what:?}")).await;
            assert_eq!(kind, FailureKind::CallLimit, "{what}");
            assert!(message.starts_with(&format!("it made more than {calls} calls to the host")), "{what}: {message}");
        }
    }
}

#[tokio::test]
async fn writes_and_follow_ups_are_refused_at_their_quota() {
    let few = |writes| hostile("call_amplification").limits(limits().state_writes(writes).follow_ups(writes));
    for what in [r#""state-set""#, r#""state-increment""#, r#""enqueue""#] {
        for writes in [10, 70] {
            let reason = reason(few(writes).grant(Grant::enqueue("follow-up")), what).await;
            assert!(reason.starts_with(&format!("refused at call {}: ", writes + 1)), "{what}: {reason}");
        }
    }
    let reason = reason(few(10), r#""enqueue""#).await;
    assert!(reason.starts_with("refused at call 1: "), "it is not granted: {reason}");
}

#[tokio::test]
async fn a_fork_bomb_ends_at_the_limit_of_generations() {
    for (generations, jobs) in [(0, 1u64), (3, 15), (4, 31)] {
        let (_, pond) = memory();
        let bomb = hostile("fork_bomb").limits(limits().generations(generations)).grant(Grant::enqueue("job"));
        pond.worker("q").retry(Retry::none()).handle_wasm("job", bomb).start().unwrap();
        pond.enqueue("q", NewJob::raw("job", "null")).await.unwrap();
        drained(&pond).await;
        let counts = pond.queue("q").unwrap().counts();
        assert_eq!((counts.enqueued_total, counts.dead_total), (jobs, jobs.div_ceil(2)), "{generations}");
        assert_unaffected(&pond).await;
    }
}

#[tokio::test]
async fn leaked_handles_end_in_a_trap_at_their_limit() {
    for handles in ["null", "1100"] {
        let (kind, message) = failure(hostile("handle_leak"), handles).await;
        assert_eq!(kind, FailureKind::Trap, "{message}");
    }
    assert_eq!(result(hostile("handle_leak"), "900").await, "900");
}

#[tokio::test]
async fn every_extreme_argument_gets_an_answer() {
    let (_, pond) = memory();
    let extreme = hostile("extreme_arguments").grant(Grant::enqueue("follow-up"));
    pond.worker("q").retry(Retry::none()).handle_wasm("job", extreme).start().unwrap();
    let id = pond.enqueue("q", NewJob::raw("job", "")).await.unwrap();
    drained(&pond).await;
    let job = pond.job(id).unwrap();
    assert_eq!(job.result.as_deref(), Some(&b"28"[..]), "{job:?}");
    assert_unaffected(&pond).await;
}
