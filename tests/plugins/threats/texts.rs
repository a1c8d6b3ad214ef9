//! Texts that people read: a guest's text must not control their terminal, forge a log line or fill their disk.

use millpond::FailureKind;

use super::*;
use crate::built::hostile;
use crate::guest::plugin;
use crate::told;

/// Asserts that the text has no character that controls a terminal or a log reader.
fn assert_plain(text: &str) {
    let is_odd = |c: char| c.is_control() || "\u{2028}\u{2029}\u{202e}\u{2066}\u{61c}\u{feff}".contains(c);
    assert!(!text.contains(is_odd), "{text:?}");
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_and_shows_no_control_character() {
    let flood = async |lines: &'static str| {
        let (_, pond) = memory();
        let lines = told::lines(&pond, hostile("log_flood"), lines).await;
        lines.iter().for_each(|line| assert_plain(line));
        assert_unaffected(&pond).await;
        lines
    };
    let lines = flood("5000").await;
    assert!(lines.len() <= 1_001, "{}", lines.len());
    assert!(lines.iter().map(String::len).sum::<usize>() <= (256 << 10) + 100);
    assert_eq!(lines.last().unwrap(), "4000 more lines were dropped: over the limit");
    let lines = flood("3").await;
    assert_eq!(lines[0], r"\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred 0");
    assert_eq!(lines[1], r"one\r\nERROR forged line 1\n\u{0}");
    assert_eq!(lines[2], r"\u{202e}desrever 2\u{2028}\u{9b}31m");
}

#[tokio::test]
async fn a_panic_message_is_cut_off_and_escaped() {
    let (kind, message) = failure(hostile("panics"), "boom \u{1b}[2J\n\u{202e}").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("panicked at") && message.contains("boom"), "{message}");
    assert!(message.len() <= 4 << 10, "{}", message.len());
    assert_plain(&message);
}

#[tokio::test]
async fn a_reason_is_escaped() {
    let hostile = "no luck \u{1b}[2J\r\nERROR forged\u{2028}\u{202e}";
    let plain = r"no luck \u{1b}[2J\r\nERROR forged\u{2028}\u{202e}";
    assert_eq!(reason(plugin("(call $dead_letter (local.get $p) (local.get $n))"), hostile).await, plain);
    let (kind, message) = failure(plugin("(call $retry (local.get $p) (local.get $n))"), hostile).await;
    assert_eq!((kind, message.as_str()), (FailureKind::Error, plain));
}

/// The author of the module chooses the names of its functions.
#[tokio::test]
async fn names_in_a_backtrace_are_cut_off_and_escaped() {
    let name = format!("\\1b[2J\\0aERROR forged{}", "x".repeat(100_000));
    let text = format!(r#"(func $odd (@name "{name}") unreachable)"#);
    let module = crate::guest::module_with("(call $odd) (call $ok (i32.const 0) (i32.const 0))", &text);
    let (kind, message) = failure(from_bytes(module), "").await;
    assert_eq!(kind, FailureKind::Trap);
    assert!(message.contains("ERROR forged"), "{message}");
    assert!(message.len() < 1_000, "{}", message.len());
    assert_plain(&message);
}
