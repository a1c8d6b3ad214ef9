//! Violations of the contract's binary form: each is a trap, and none affects the host.

use millpond::FailureKind;

use super::*;
use crate::built::{raw, raw_text};

/// The guest traps as it is, and completes if one thing is corrected.
async fn traps(name: &str, broken: &str, mended: &str) {
    let text = raw_text(name);
    let (kind, message) = failure(from_bytes(raw(&text)), "payload").await;
    assert_eq!(kind, FailureKind::Trap, "{name}: {message}");
    assert!(text.contains(broken), "{name}");
    let (_, pond) = memory();
    let mended = from_bytes(raw(&text.replace(broken, mended)));
    pond.worker("q").handle_wasm("job", mended).start().unwrap();
    pond.enqueue("q", NewJob::raw("job", "payload")).await.unwrap();
    drained(&pond).await;
    assert_eq!(pond.queue("q").unwrap().counts().completed_total, 1, "{name}");
}

#[tokio::test]
async fn a_text_outside_of_its_memory_is_a_trap() {
    traps("bad_pointer", "(i32.const 65530)", "(i32.const 16)").await;
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_is_a_trap() {
    traps("bad_text", r"\ff\fe\c0", "abc").await;
}

#[tokio::test]
async fn an_invalid_variant_case_is_a_trap() {
    traps("bad_level", "(i32.const 77)", "(i32.const 2)").await;
}

#[tokio::test]
async fn an_answer_outside_of_its_memory_is_a_trap() {
    traps("bad_answer", "0x7fffffff", "3").await;
}

#[tokio::test]
async fn a_payload_placed_outside_of_its_memory_is_a_trap() {
    traps("bad_allocator", "0x7ffffff0", "1024").await;
}

#[tokio::test]
async fn a_handle_that_the_guest_never_had_is_a_trap() {
    traps("forged_handle", "(call $enqueue (i32.const 12345) (i32.const 64))", "").await;
}
