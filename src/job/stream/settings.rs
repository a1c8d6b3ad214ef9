//! What a stream keeps, and its row in the file.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::StreamId;
use crate::error::Error;
use crate::time::{Timestamp, in_seconds};

/// What a stream keeps. By default it keeps everything.
///
/// Of several limits each holds: an entry is removed once it is beyond one of them. The latest entry of a stream is removed
/// only by its age. A sweep removes entries every five seconds (the first one up to half a minute after the limits were set), and a bounded number in each commit, so a stream can have more for
/// a while.
///
/// ```
/// use std::time::Duration;
///
/// use millpond::StreamSettings;
///
/// let settings = StreamSettings::default().max_age(Duration::from_secs(7 * 24 * 3600)).max_bytes(1 << 30);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamSettings {
    /// How long an entry is kept. The time is counted on the age line, so a clock that is set does not change it.
    #[serde(serialize_with = "maybe_seconds")]
    pub max_age: Option<Duration>,
    /// How many bytes all entries have together: their payloads, keys, headers and a few bytes for each.
    pub max_bytes: Option<u64>,
    /// How many entries are kept.
    pub max_entries: Option<u64>,
    /// Whether of the entries of each key only the latest is kept. Entries without a key are kept.
    pub compact: bool,
}

fn maybe_seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => in_seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

impl StreamSettings {
    /// How long an entry is kept.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// How many bytes all entries have together, at most.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// How many entries are kept, at most.
    #[must_use]
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Keeps of the entries of each key only the latest one.
    #[must_use]
    pub fn compact(mut self) -> Self {
        self.compact = true;
        self
    }

    /// Whether a sweep can remove anything. Compaction is part of each append.
    pub(crate) fn removes(&self) -> bool {
        self.max_age.is_some() || self.max_bytes.is_some() || self.max_entries.is_some() || self.compact
    }

    /// Whether so many entries of so many bytes are more than are kept. One entry is not.
    pub(crate) fn are_exceeded_by(&self, entries: u64, bytes: u64) -> bool {
        let is_above = |now: u64, max: Option<u64>| max.is_some_and(|max| now > max);
        entries > 1 && (is_above(entries, self.max_entries) || is_above(bytes, self.max_bytes))
    }

    /// # Errors
    /// [`Error::InvalidConfig`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_age == Some(Duration::ZERO) {
            return Err(Error::config(
                "max_age",
                "an age of zero would keep no entry: leave it out to keep all".into(),
            ));
        }
        for (field, limit) in [("max_bytes", self.max_bytes), ("max_entries", self.max_entries)] {
            if limit == Some(0) {
                return Err(Error::config(field, "0 would keep no entry: leave it out to keep all".into()));
            }
        }
        Ok(())
    }
}

/// A stream in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StreamRow {
    pub number: StreamId,
    #[serde(with = "stored")]
    pub settings: StreamSettings,
    /// No entry has an offset below this.
    pub first: u64,
    /// The offset of the next entry.
    pub next: u64,
    pub entries: u64,
    pub bytes: u64,
    /// Entries from here on were not looked at for compaction.
    pub compacted_to: u64,
    pub created_at: Timestamp,
}

/// The settings as they are stored: age, bytes, entries, compaction.
mod stored {
    use super::*;

    type Stored = (Option<Duration>, Option<u64>, Option<u64>, bool);

    pub fn serialize<S: serde::Serializer>(settings: &StreamSettings, serializer: S) -> Result<S::Ok, S::Error> {
        let StreamSettings { max_age, max_bytes, max_entries, compact } = *settings;
        let stored: Stored = (max_age, max_bytes, max_entries, compact);
        stored.serialize(serializer)
    }

    pub fn deserialize<'d, D: serde::Deserializer<'d>>(deserializer: D) -> Result<StreamSettings, D::Error> {
        let (max_age, max_bytes, max_entries, compact) = Stored::deserialize(deserializer)?;
        Ok(StreamSettings { max_age, max_bytes, max_entries, compact })
    }
}

impl StreamRow {
    pub fn new(number: StreamId, created_at: Timestamp) -> Self {
        let settings = StreamSettings::default();
        Self { number, settings, first: 0, next: 0, entries: 0, bytes: 0, compacted_to: 0, created_at }
    }
}
