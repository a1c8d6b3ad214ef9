//! What a caller writes on a job beside its payload: tags, by which jobs are found, and headers, which go to the handler.

use std::collections::BTreeMap;

use millpond_rules::{HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX, is_header_name, is_tag};

use crate::error::Error;
use crate::text::char_boundary;

/// The tags and headers of a job. Few jobs have any, so a record has them behind one pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Without duplicates, in the order in which they were given.
    pub tags: Vec<String>,
    pub headers: BTreeMap<String, String>,
}

impl Labels {
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.headers.is_empty()
    }

    /// The header `traceparent`, if it is one of the W3C's trace context: version, trace, parent and flags in hexadecimal
    /// digits, as `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`.
    pub fn traceparent(&self) -> Option<&str> {
        let value = self.headers.get("traceparent")?;
        is_traceparent(value).then_some(value)
    }

    /// Drops the duplicates, and checks the rest.
    pub fn check(&mut self) -> Result<(), Error> {
        check_tags(&mut self.tags)?;
        check_headers(&self.headers)
    }
}

/// Drops the duplicates, and checks the rest.
pub(super) fn check_tags(tags: &mut Vec<String>) -> Result<(), Error> {
    let mut distinct: Vec<String> = Vec::new();
    for tag in tags.drain(..) {
        check_tag(&tag)?;
        if !distinct.contains(&tag) {
            if distinct.len() == TAGS_MAX {
                return Err(Error::TooManyTags { max: TAGS_MAX });
            }
            distinct.push(tag);
        }
    }
    *tags = distinct;
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), Error> {
    if is_tag(tag) {
        return Ok(());
    }
    Err(Error::InvalidTag { tag: start(tag, TAG_BYTES_MAX), len: tag.len(), max: TAG_BYTES_MAX })
}

pub(super) fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut bytes = 0;
    for (name, value) in headers {
        if !is_header_name(name) {
            let (name, len) = (start(name, HEADER_NAME_BYTES_MAX), name.len());
            return Err(Error::InvalidHeader { name, len, max: HEADER_NAME_BYTES_MAX });
        }
        bytes += name.len() + value.len();
    }
    if bytes > HEADERS_BYTES_MAX {
        return Err(Error::HeadersTooLarge { len: bytes, max: HEADERS_BYTES_MAX });
    }
    Ok(())
}

/// A later version than 00 can have more parts behind these.
fn is_traceparent(value: &str) -> bool {
    let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    let mut parts = value.split('-');
    let mut part = |len: usize| parts.next().filter(|part| part.len() == len && part.bytes().all(is_hex));
    let (version, trace, parent, flags) = (part(2), part(32), part(16), part(2));
    let is_set = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|digit| digit != b'0'));
    let ends = parts.next().is_none() || version != Some("00");
    version.is_some_and(|version| version != "ff") && is_set(trace) && is_set(parent) && flags.is_some() && ends
}

/// The first bytes of a text that was refused.
fn start(text: &str, bytes_max: usize) -> String {
    text[..char_boundary(text, bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(tags: &[&str]) -> Labels {
        Labels { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..Labels::default() }
    }

    #[test]
    fn duplicate_tags_are_dropped_and_do_not_count() {
        let mut twice = labels(&["b", "a", "b", "a"]);
        twice.check().unwrap();
        assert_eq!(twice.tags, ["b", "a"]);

        let many: Vec<String> = (0..TAGS_MAX).map(|n| n.to_string()).collect();
        let mut most = Labels { tags: [many.clone(), many].concat(), ..Labels::default() };
        most.check().unwrap();
        assert_eq!(most.tags.len(), TAGS_MAX);
        most.tags.push("one more".into());
        assert!(matches!(most.check(), Err(Error::TooManyTags { max: TAGS_MAX })));
    }

    #[test]
    fn a_tag_is_a_text_of_1_to_64_bytes_without_control_characters() {
        let long = "é".repeat(32);
        labels(&["x", "customer 7", "größe=L", "😀", long.as_str()]).check().unwrap();
        let too_long = "é".repeat(33);
        for bad in ["", "a\nb", "\0", "\u{85}", too_long.as_str()] {
            assert!(matches!(labels(&[bad]).check(), Err(Error::InvalidTag { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_only_a_header() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for value in [good.to_owned(), format!("cc{}-more", &good[2..])] {
            assert!(is_traceparent(&value), "{value}");
        }
        let zero = |from: usize, len: usize| format!("{}{}{}", &good[..from], "0".repeat(len), &good[from + len..]);
        let bad = [String::new(), good.to_uppercase(), format!("{good}-more"), format!("ff{}", &good[2..])];
        for value in bad.into_iter().chain([zero(3, 32), zero(36, 16), good[..54].to_owned()]) {
            assert!(!is_traceparent(&value), "{value}");
        }
    }

    #[test]
    fn headers_have_a_limit_for_each_name_and_one_for_all() {
        let headers = |entries: &[(&str, usize)]| Labels {
            headers: entries.iter().map(|(name, len)| ((*name).to_owned(), "v".repeat(*len))).collect(),
            ..Labels::default()
        };
        headers(&[("a", HEADERS_BYTES_MAX - 1)]).check().unwrap();
        headers(&[(&"n".repeat(128), 0)]).check().unwrap();
        let all = headers(&[("a", HEADERS_BYTES_MAX - 3), ("bc", 1)]).check();
        assert!(matches!(all, Err(Error::HeadersTooLarge { len: 4_097, max: 4_096 })), "{all:?}");
        for bad in ["", &"n".repeat(129)] {
            assert!(matches!(headers(&[(bad, 0)]).check(), Err(Error::InvalidHeader { max: 128, .. })), "{bad:?}");
        }
    }
}
