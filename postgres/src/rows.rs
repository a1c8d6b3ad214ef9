//! Envelopes and cursors as they are in rows: headers as JSON, and the ids of a batch as ranges.

use std::fmt::Write;

use bytes::Bytes;
use millpond_links::Envelope;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Headers as a JSON object, in their order.
struct Headers<H>(H);

impl Serialize for Headers<&[(String, String)]> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Headers<Vec<(String, String)>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs).map(Headers)
    }
}

pub(crate) fn headers(envelope: &Envelope) -> String {
    // A map of texts is always JSON.
    serde_json::to_string(&Headers(&*envelope.headers)).unwrap_or_default()
}

/// The envelope of a row. Headers that nobody can read are none: the receiver puts such a job aside.
pub(crate) fn envelope(partition: u16, headers: &str, payload: Vec<u8>) -> Envelope {
    let headers = serde_json::from_str::<Headers<Vec<(String, String)>>>(headers);
    Envelope { partition, headers: headers.map_or_else(|_| Vec::new(), |read| read.0), payload: Bytes::from(payload) }
}

/// Ids in their order, as `7-9 3`: those that follow one another are a range.
pub(crate) fn ids(ids: &[u64]) -> String {
    let mut text = String::new();
    for run in ids.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let separator = if text.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _ = match run {
            [first, .., last] => write!(text, "{separator}{first}-{last}"),
            _ => write!(text, "{separator}{}", run.first().copied().unwrap_or_default()),
        };
    }
    text
}

/// The ids of such a text: at most `most`, or none if it is not one.
pub(crate) fn parse_ids(text: &str, most: usize) -> Option<Vec<u64>> {
    let mut ids = Vec::new();
    for part in text.split_ascii_whitespace() {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        if last < first || last - first >= most.saturating_sub(ids.len()) as u64 {
            return None;
        }
        ids.extend(first..=last);
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_order_and_runs_are_ranges() {
        for (all, text) in [
            (&[][..], ""),
            (&[5], "5"),
            (&[1, 2, 3], "1-3"),
            (&[9, 7, 8, 3, u64::MAX, 0], "9 7-8 3 18446744073709551615 0"),
        ] {
            assert_eq!(ids(all), text);
            assert_eq!(parse_ids(text, 10).as_deref(), Some(all), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_list_of_ids_is_none() {
        for text in ["a", "3-1", "1-", "-", "0-18446744073709551615", "1-11", "1-10 12"] {
            assert_eq!(parse_ids(text, 10), None, "{text}");
        }
    }

    #[test]
    fn headers_keep_their_order_and_bad_ones_are_none() {
        let pairs =
            [("z", "1"), ("a", "\"\\\u{1}é"), ("", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let sent = Envelope { partition: 3, headers: pairs.to_vec(), payload: Bytes::from_static(&[0, 255]) };
        assert_eq!(envelope(3, &headers(&sent), sent.payload.to_vec()), sent);
        for bad in ["", "[]", "{\"a\": 1}", "{\"a\"", "null"] {
            assert!(envelope(0, bad, Vec::new()).headers.is_empty(), "{bad}");
        }
    }
}
