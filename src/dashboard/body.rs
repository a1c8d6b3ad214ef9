//! Payloads and results as texts.

mod pretty;

use crate::{Codec, Payload};

use super::api::{Body, Format};
use super::redact::{Redact, Seen};
use pretty::pretty;

/// How a payload or result is shown.
#[derive(Clone, Copy)]
struct Form {
    /// Bytes of the text, at most.
    text_bytes_max: usize,
    /// JSON has line breaks.
    is_pretty: bool,
}

/// Where one job is shown.
const WHOLE: Form = Form { text_bytes_max: 64 << 10, is_pretty: true };

/// Where a page can have hundreds of them.
const SHORT: Form = Form { text_bytes_max: 4 << 10, is_pretty: true };

/// As it is exported. The longest payload has 1 MiB by default, which is twice as much in hexadecimal.
const EXPORTED: Form = Form { text_bytes_max: 2 << 20, is_pretty: false };

/// Bytes of a preview, at most.
const PREVIEW_BYTES_MAX: usize = 200;

/// The application's hook is not called for the preview of a payload that is larger than this: a page has 1,000 previews.
const PREVIEW_REDACTED_BYTES_MAX: usize = 64 << 10;

/// What is shown in place of something hidden.
const HIDDEN: &str = "(hidden)";

pub(super) fn of_payload(payload: &Payload, queue: &str, kind: &str, redact: &Redact) -> Body {
    body(format_of_payload(payload), &payload.bytes, (queue, kind), redact, WHOLE)
}

pub(super) fn of_exported_payload(payload: &Payload, queue: &str, kind: &str, redact: &Redact) -> Body {
    body(format_of_payload(payload), &payload.bytes, (queue, kind), redact, EXPORTED)
}

/// A result has no codec: it is shown in the most legible form that it has.
pub(super) fn of_result(bytes: &[u8], queue: &str, kind: &str, redact: &Redact) -> Body {
    body(format_of(bytes), bytes, (queue, kind), redact, WHOLE)
}

pub(super) fn of_exported_result(bytes: &[u8], queue: &str, kind: &str, redact: &Redact) -> Body {
    body(format_of(bytes), bytes, (queue, kind), redact, EXPORTED)
}

/// A result of which less is shown, because it is one of many.
pub(super) fn of_short_result(bytes: &[u8], queue: &str, kind: &str, redact: &Redact) -> Body {
    body(format_of(bytes), bytes, (queue, kind), redact, SHORT)
}

fn format_of_payload(payload: &Payload) -> Format {
    match payload.codec {
        Codec::Json => Format::Json,
        Codec::Postcard => Format::Postcard,
        _ => of_bytes(&payload.bytes),
    }
}

fn format_of(result: &[u8]) -> Format {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(result).is_ok();
    if is_json { Format::Json } else { of_bytes(result) }
}

/// The beginning of a payload, in one line.
pub(super) fn preview(payload: &Payload, queue: &str, kind: &str, redact: &Redact) -> String {
    if redact.is_set() && payload.bytes.len() > PREVIEW_REDACTED_BYTES_MAX {
        return HIDDEN.to_owned();
    }
    match redact.seen(queue, kind, &payload.bytes) {
        Seen::Hidden => HIDDEN.to_owned(),
        Seen::Passed { value, .. } => cut(value.to_string(), PREVIEW_BYTES_MAX).0,
        Seen::AsItIs => {
            let start = &payload.bytes[..payload.bytes.len().min(PREVIEW_BYTES_MAX + 1)];
            match (payload.codec, text(start)) {
                (Codec::Postcard, _) | (_, None) => hex(start, PREVIEW_BYTES_MAX).0,
                (_, Some(text)) => {
                    let (mut shown, is_cut) = cut(text.to_owned(), PREVIEW_BYTES_MAX);
                    if is_cut || payload.bytes.len() > start.len() {
                        shown.push('…');
                    }
                    shown
                }
            }
        }
    }
}

fn of_bytes(bytes: &[u8]) -> Format {
    if std::str::from_utf8(bytes).is_ok() { Format::Text } else { Format::Raw }
}

fn body(format: Format, bytes: &[u8], (queue, kind): (&str, &str), redact: &Redact, form: Form) -> Body {
    let Form { text_bytes_max, is_pretty } = form;
    let (text, is_cut, is_redacted) = match redact.seen(queue, kind, bytes) {
        Seen::Hidden => (HIDDEN.to_owned(), false, true),
        Seen::Passed { value, is_changed } => {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            let (text, is_cut) = cut(text, text_bytes_max);
            (text, is_cut, is_changed)
        }
        Seen::AsItIs => {
            let (text, is_cut) = match (format, std::str::from_utf8(bytes)) {
                (Format::Json, Ok(json)) if is_pretty => pretty(json, text_bytes_max),
                (Format::Json | Format::Text, Ok(text)) => cut(text.to_owned(), text_bytes_max),
                _ => hex(bytes, text_bytes_max),
            };
            (text, is_cut, false)
        }
    };
    Body { format, bytes: bytes.len() as u64, text, is_cut, is_redacted }
}

/// The text that these bytes begin with, if they are text but for a character that is cut at their end.
fn text(start: &[u8]) -> Option<&str> {
    match std::str::from_utf8(start) {
        Ok(text) => Some(text),
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}

/// The text, cut to at most so many bytes, and whether it was cut.
pub(super) fn cut(mut text: String, bytes_max: usize) -> (String, bool) {
    if text.len() <= bytes_max {
        return (text, false);
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    (text, true)
}

/// The bytes in hexadecimal, two digits each.
fn hex(bytes: &[u8], digits_max: usize) -> (String, bool) {
    let shown = &bytes[..bytes.len().min(digits_max / 2)];
    (shown.iter().map(|byte| format!("{byte:02x}")).collect(), shown.len() < bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(payload: &Payload, redact: &Redact) -> (Body, String) {
        (of_payload(payload, "mail", "send", redact), preview(payload, "mail", "send", redact))
    }

    #[test]
    fn json_is_shown_as_it_was_written_with_line_breaks() {
        let payload = Payload { codec: Codec::Json, bytes: (&br#"{"b":1.50,"a":[123456789012345678901]}"#[..]).into() };
        let (body, preview) = seen(&payload, &Redact::default());
        assert_eq!(body.text, "{\n  \"b\": 1.50,\n  \"a\": [\n    123456789012345678901\n  ]\n}");
        assert_eq!(preview, r#"{"b":1.50,"a":[123456789012345678901]}"#);
        assert_eq!((body.format, body.bytes, body.is_cut, body.is_redacted), (Format::Json, 38, false, false));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal_and_cut() {
        let (body, preview) = seen(&Payload::raw(vec![0xff; 100_000]), &Redact::default());
        assert_eq!((body.format, body.bytes, body.is_cut), (Format::Raw, 100_000, true));
        assert_eq!((body.text.len(), preview.as_str()), (WHOLE.text_bytes_max, "ff".repeat(100).as_str()));
        assert_eq!(seen(&Payload::raw("naïve"), &Redact::default()).0.format, Format::Text);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let (body, preview) = seen(&Payload::raw("é".repeat(100_000)), &Redact::default());
        assert!(body.is_cut && body.text.len() <= WHOLE.text_bytes_max && body.text.ends_with('é'));
        assert_eq!(preview, format!("{}…", "é".repeat(100)));
    }

    #[test]
    fn what_the_application_hides_is_not_shown() {
        let redact = Redact::with(|_, _, value| {
            if let Some(card) = value.get_mut("card") {
                *card = "****".into();
            }
        });
        let payload = Payload { codec: Codec::Json, bytes: (&br#"{"card":"4111"}"#[..]).into() };
        let (body, preview) = seen(&payload, &redact);
        assert!(body.is_redacted && !body.text.contains("4111") && preview == r#"{"card":"****"}"#, "{body:?}");
        let (body, preview) = seen(&Payload::raw("4111"), &Redact::with(|_, _, value| *value = "?".into()));
        assert!(body.is_redacted && !body.text.contains("4111") && !preview.contains("4111"), "{body:?}");
        let (body, preview) = seen(&Payload::raw("card 4111"), &redact);
        assert!(body.is_redacted && body.text == HIDDEN && preview == HIDDEN, "{body:?}");
    }
}
