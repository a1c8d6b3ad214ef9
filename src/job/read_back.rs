//! Whether a payload that was written is read as the value that it was written from.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::checked::ReadBack;
use super::codec::Codec;
use super::payload::{Kind, Payload};
use super::payload_error::PayloadError;
use crate::error::BoxError;
use crate::text::char_boundary;

/// How much of a payload an error shows, in bytes.
const EXCERPT_BYTES_MAX: usize = 80;

/// Reads the payload back, as its handler will.
pub(crate) type Reader = fn(&Payload, ReadBack) -> Result<(), PayloadError>;

/// Reads it as a `K`, and compares what that `K` is written as if that is asked for.
///
/// # Errors
/// [`PayloadError::NotReadBack`] and [`PayloadError::Changed`].
pub(crate) fn read_back<K: Kind>(written: &Payload, read_back: ReadBack) -> Result<(), PayloadError> {
    let not_read_back = |source: BoxError| PayloadError::NotReadBack { source };
    let value: K = written.decode().map_err(not_read_back)?;
    if read_back == ReadBack::Read {
        return Ok(());
    }
    let read = Payload::encode(written.codec, &value).map_err(not_read_back)?;
    if is_same(written, &read) { Ok(()) } else { Err(changed(written, &read)) }
}

/// Maps and sets may be in another order each time.
fn is_same(one: &Payload, other: &Payload) -> bool {
    if one.bytes == other.bytes {
        return true;
    }
    if one.bytes.len() != other.bytes.len() {
        return false;
    }
    match one.codec {
        Codec::Json => {
            let text = |payload: &Payload| std::str::from_utf8(&payload.bytes).ok().map(in_order);
            text(one) == text(other)
        }
        // It does not say where a map or a set begins: the same bytes in another order are taken for one.
        Codec::Postcard | Codec::Raw => count_bytes(one) == count_bytes(other),
    }
}

fn count_bytes(payload: &Payload) -> [usize; 256] {
    let mut counts = [0; 256];
    payload.bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    counts
}

/// A JSON text with the items of each list and map in one order.
fn in_order(text: &str) -> String {
    match text.as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<BTreeMap<String, &RawValue>>(text) {
            Ok(map) => {
                let entries = map.iter().map(|(key, value)| format!("{key:?}:{}", in_order(value.get())));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }
            Err(_) => text.to_owned(),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(list) => {
                let mut items: Vec<_> = list.iter().map(|item| in_order(item.get())).collect();
                items.sort_unstable();
                format!("[{}]", items.join(","))
            }
            Err(_) => text.to_owned(),
        },
        _ => text.to_owned(),
    }
}

fn changed(written: &Payload, read: &Payload) -> PayloadError {
    let same = written.bytes.iter().zip(&read.bytes).take_while(|(one, other)| one == other).count();
    PayloadError::Changed { written: excerpt(written, same), read: excerpt(read, same) }
}

/// The part of the payload around `at`.
fn excerpt(payload: &Payload, at: usize) -> String {
    let Ok(text) = std::str::from_utf8(&payload.bytes) else {
        return format!("{} bytes, of which byte {at} is the first that differs", payload.bytes.len());
    };
    let from = char_boundary(text, at.saturating_sub(EXCERPT_BYTES_MAX / 2));
    let to = char_boundary(text, from + EXCERPT_BYTES_MAX);
    let (before, after) = (if from > 0 { "…" } else { "" }, if to < text.len() { "…" } else { "" });
    format!("{before}{}{after}", &text[from..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        let payload = |text: &str| Payload { codec: Codec::Json, bytes: text.to_owned().into() };
        is_same(&payload(one), &payload(other))
    }

    #[test]
    fn the_order_of_maps_and_sets_is_no_change_and_anything_else_is() {
        assert!(same(r#"{"a":[1,{"b":2,"c":3}]}"#, r#"{"a":[{"c":3,"b":2},1]}"#));
        assert!(!same(r#"{"a":1,"b":2}"#, r#"{"a":2,"b":1}"#));
        assert!(!same("18446744073709551616", "18446744073709551617"));
        assert!(!same("1.0", "1"));
        assert!(!same(r#"{"a":[1,2]}"#, r#"{"a":[1,1]}"#));
    }

    #[test]
    fn what_differs_is_shown_and_not_all_of_it() {
        let payload = |last: &str| Payload { codec: Codec::Json, bytes: ("é".repeat(500) + last).into() };
        let PayloadError::Changed { written, read } = changed(&payload("a"), &payload("b")) else { unreachable!() };
        assert!(written.starts_with('…') && written.ends_with('a') && written.len() < 100, "{written}");
        assert!(read.ends_with('b'), "{read}");
    }
}
