//! Memory: linear memories, tables and stacks.

use millpond::{FailureKind, PluginError};

use super::*;
use crate::built::{hostile, raw, raw_text, register_bytes};

#[tokio::test]
async fn memory_growth_ends_at_the_limit_of_the_attempt() {
    let (kind, message) = failure(hostile("memory_growth"), "null").await;
    assert_eq!(kind, FailureKind::MemoryLimit, "{message}");
    let eight = |mebibytes: usize| hostile("memory_growth").limits(limits().memory_bytes(mebibytes << 20));
    assert_eq!(failure(eight(4), "8").await.0, FailureKind::MemoryLimit);
    assert_eq!(result(eight(32), "8").await, "8");
}

#[tokio::test]
async fn many_memories_are_refused_and_the_sizes_of_two_add_up() {
    let many = raw_text("many_memories");
    let refused = register_bytes(raw(&many)).unwrap_err();
    assert_eq!(refused, PluginError::OverLimits { what: "memories", needs: 5, limit: 4 });
    let mut two = many.replace("(memory $b 0) (memory $c 0) (memory $d 0)", "");
    for grown in ["$b", "$c", "$d"] {
        two = two.replace(&format!("(drop (memory.grow {grown} (i32.const 16)))"), "");
    }
    // The first memory has one page, the second grows by a MiB at a time: together they exceed the limit at 4 MiB.
    let (kind, message) = failure(from_bytes(raw(&two)).limits(limits().memory_bytes(4 << 20)), "").await;
    assert_eq!(kind, FailureKind::MemoryLimit);
    assert_eq!(message, "it asked for 4259840 bytes of memory, its limit is 4194304");
}

#[tokio::test]
async fn a_growing_table_ends_at_the_limit_of_its_elements() {
    let text = raw_text("growing_table");
    let (kind, message) = failure(from_bytes(raw(&text)), "").await;
    assert_eq!(kind, FailureKind::MemoryLimit);
    assert_eq!(message, "it asked for 100001 elements in its tables, its limit is 20000");
    let once = text.replace("100000", "10000").replace("(br 0)", "");
    assert_eq!(failure(from_bytes(raw(&once)), "").await.0, FailureKind::Trap, "it grows, and then gives up");
}

#[test]
fn huge_memories_and_tables_at_the_start_are_refused() {
    let memory = raw_text("huge_memory");
    let refused = register_bytes(raw(&memory)).unwrap_err();
    assert_eq!(refused, PluginError::OverLimits { what: "bytes of memory", needs: 4 << 30, limit: 64 << 20 });
    assert_eq!(register_bytes(raw(&memory.replace("65536", "16"))), Ok(()));
    let table = raw_text("huge_table");
    let refused = register_bytes(raw(&table)).unwrap_err();
    assert_eq!(refused, PluginError::OverLimits { what: "elements in a table", needs: 10_000_000, limit: 20_000 });
    assert_eq!(register_bytes(raw(&table.replace("10000000", "10000"))), Ok(()));
}

#[tokio::test]
async fn a_stack_that_overflows_is_a_trap_on_either_stack() {
    let (kind, message) = failure(hostile("stack_overflow"), r#""calls""#).await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("call stack exhausted"), "{message}");
    let (kind, message) = failure(hostile("stack_overflow"), r#""frames""#).await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("out of bounds memory access"), "{message}");
}
