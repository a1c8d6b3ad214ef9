//! Streams, their consumers and their entries.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Body, Paging, Time};

/// A stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// No entry has an offset below this.
    pub first: u64,
    /// The offset of the next entry.
    pub next: u64,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// What it keeps.
    pub settings: StreamSettings,
    /// How many consumers it has.
    pub consumers: u64,
    /// How many entries the consumer is behind that is behind the most; `null` without consumers.
    pub behind_max: Option<u64>,
    /// When it was made.
    pub created_at: Time,
}

/// What a stream keeps: everything, but for what these exclude.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// How long an entry is kept; `null` for any time.
    pub max_age_seconds: Option<f64>,
    /// How many bytes all entries have together, at most; `null` for any number.
    pub max_bytes: Option<u64>,
    /// How many entries are kept; `null` for any number.
    pub max_entries: Option<u64>,
    /// Whether of the entries of each key only the latest is kept.
    pub is_compacted: bool,
}

/// Some streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamPage {
    /// The streams, by name.
    pub streams: Vec<Stream>,
    /// Pass this as `after` to get the next page; `null` at the end.
    pub next: Option<String>,
}

/// One stream with its consumers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamDetail {
    /// The stream.
    pub stream: Stream,
    /// The consumers, by name.
    pub consumers: Vec<Consumer>,
}

/// A consumer of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Consumer {
    /// The stream.
    pub stream: String,
    /// Its name.
    pub name: String,
    /// The queue of the jobs that its entries become.
    pub queue: String,
    /// The first entry that it is not done with.
    pub next: u64,
    /// How many entries it is not done with, at most: entries that compaction has removed count.
    pub behind: u64,
    /// When the first entry that it is not done with was appended; `null` if it is done with all.
    pub behind_since: Option<Time>,
    /// How many entries have become jobs that have not ended.
    pub jobs: u64,
    /// How many of its entries are dead letters.
    pub dead: u64,
    /// How many entries retention has removed before it was done with them.
    pub lost: u64,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Whether it has a worker in this process.
    pub is_running: bool,
    /// When it was started for the first time.
    pub created_at: Time,
}

/// Whose consumers a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct OfStream {
    /// Only those of this stream. Default: those of all streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// Which entries of a stream a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct EntryQuery {
    /// The entry with this offset, and those behind it. Default: the latest entries.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "number_or_nothing")]
    pub from: Option<u64>,
    /// How many entries, at most: 1 to 1,000, as a number. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A form sends a field that nothing was written into as an empty text.
fn number_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let text = text.as_deref().map(str::trim).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no offset")))).transpose()
}

impl EntryQuery {
    /// How many entries, within the limits.
    pub fn entries(&self) -> usize {
        Paging { after: None, limit: self.limit }.entries()
    }
}

/// An entry of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Its offset: where it is in its stream.
    pub offset: u64,
    /// Its kind.
    pub kind: String,
    /// Its key. Consumers handle the entries of a key in order.
    pub key: Option<String>,
    /// When it was appended.
    pub appended_at: Time,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its payload.
    pub payload: Body,
    /// Why its payload cannot be shown as it was written.
    pub codec_error: Option<String>,
}

/// Some entries of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EntryPage {
    /// Where the page begins: the offset that was asked for, or that of the first entry if it was below that.
    pub from: u64,
    /// The entries, by offset. There can be fewer than the limit though more follow: a page ends with the entry with which it
    /// reaches 1 MiB.
    pub entries: Vec<Entry>,
    /// Pass this as `from` to get the next page; `null` at the end.
    pub next: Option<u64>,
}

/// The entry of a stream that a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EntryOf {
    /// The stream.
    pub stream: String,
    /// The offset of the entry in it.
    pub offset: u64,
}

/// Where a consumer goes on. As a text: `earliest`, `latest`, an offset, or a time.
///
/// ```
/// use millpond_dashboard::api::Seek;
///
/// assert_eq!("earliest".parse(), Ok(Seek::Earliest));
/// assert_eq!("7".parse(), Ok(Seek::Offset(7)));
/// assert!(matches!("2026-11-28T16:29".parse(), Ok(Seek::Time(_))));
/// assert!("yesterday".parse::<Seek>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Seek {
    /// With the first entry that the stream has.
    Earliest,
    /// With the first entry that is appended from now on.
    Latest,
    /// With this entry, or the first one behind it.
    Offset(u64),
    /// With the first entry that was appended at this time or later.
    Time(Time),
}

/// The text is no place in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseSeekError;

impl fmt::Display for ParseSeekError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write `earliest`, `latest`, an offset such as 4711, or a time in UTC such as 2026-11-28T16:29")
    }
}

impl std::error::Error for ParseSeekError {}

impl FromStr for Seek {
    type Err = ParseSeekError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map(Self::Offset).map_err(|_| ParseSeekError)
            }
            text => text.parse().map(Self::Time).map_err(|_| ParseSeekError),
        }
    }
}

/// An entry to be appended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewEntry {
    /// The kind.
    pub kind: String,
    /// The key. Consumers handle the entries of a key in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The payload, any JSON. Its numbers are read as 64-bit ones: see `payload_text`.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub payload: serde_json::Value,
    /// The payload as the text of JSON, in place of `payload`: all digits of its numbers and the order of its fields are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_text: Option<String>,
    /// Its tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_whose_field_is_empty_asks_for_the_latest_entries() {
        let read = |sent| serde_urlencoded::from_str::<EntryQuery>(sent);
        assert_eq!(read("from=").unwrap(), EntryQuery::default());
        assert_eq!(read("from=+7&limit=3").unwrap(), EntryQuery { from: Some(7), limit: Some(3) });
        let error = read("from=first").unwrap_err().to_string();
        assert!(error.contains("\"first\" is no offset"), "{error}");
        assert_eq!(EntryQuery { from: None, limit: Some(100_000) }.entries(), Paging::LIMIT_MAX);
    }

    #[test]
    fn a_place_in_a_stream_is_a_word_an_offset_or_a_time() {
        for wrong in ["", "-1", "first", "18446744073709551616", "7.5"] {
            assert_eq!(wrong.parse::<Seek>(), Err(ParseSeekError), "{wrong}");
        }
        let json = |seek: Seek| serde_json::to_string(&seek).unwrap();
        assert_eq!([json(Seek::Latest), json(Seek::Offset(7))], ["\"latest\"", "{\"offset\":7}"]);
    }
}
