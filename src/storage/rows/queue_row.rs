//! The row of a queue.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::job::{Capacity, GroupPolicy, QueueSettings, Retention, Steered, WhenFull};
use crate::storage::rows::tally::Tally;

/// A queue as the file keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueueRow {
    pub name: Arc<str>,
    pub paused: bool,
    pub settings: QueueSettings,
    pub tally: Tally,
    /// More jobs of each group may run at a time than before, and some groups have not been filled since.
    pub fills_groups: bool,
    /// What an operator has set, if anything. It is in a table of its own.
    pub steered: Option<Arc<Steered>>,
}

impl QueueRow {
    pub(in crate::storage) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            paused: false,
            settings: QueueSettings::default(),
            tally: Tally::default(),
            fills_groups: false,
            steered: None,
        }
    }
}

/// The name, whether it is paused, the settings that each row has, and the counts. If the group concurrency is not 1, it follows, and
/// then whether there are groups to fill. If jobs are blocked, all of that is there, and then their number. If jobs were ever dropped
/// because the queue was full, all of that is there, and then their number.
type StoredQueue = (Arc<str>, bool, (Capacity, WhenFull, GroupPolicy, Retention), Tally);

impl Serialize for QueueRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { name, paused, settings, tally, fills_groups, steered: _ } = self;
        let QueueSettings { capacity, when_full, groups, retention, group_concurrency } = settings;
        let stored = (name, paused, (capacity, when_full, groups, retention), tally);
        match (*group_concurrency, tally.blocked, tally.dropped_total) {
            (1, 0, 0) => stored.serialize(serializer),
            (_, 0, 0) => (stored, group_concurrency, fills_groups).serialize(serializer),
            (_, blocked, 0) => (stored, group_concurrency, fills_groups, blocked).serialize(serializer),
            (_, blocked, dropped) => (stored, group_concurrency, fills_groups, blocked, dropped).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for QueueRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(5, ReadQueueRow)
    }
}

struct ReadQueueRow;

impl<'de> Visitor<'de> for ReadQueueRow {
    type Value = QueueRow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the row of a queue")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<QueueRow, A::Error> {
        let stored: Option<StoredQueue> = parts.next_element()?;
        let (name, paused, settings, mut tally) = stored.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let (capacity, when_full, groups, retention) = settings;
        // The row ends here if it is 1, which the format reports as an error.
        let group_concurrency = parts.next_element().ok().flatten().unwrap_or(1);
        let fills_groups = parts.next_element().ok().flatten().unwrap_or(false);
        tally.blocked = parts.next_element().ok().flatten().unwrap_or(0);
        tally.dropped_total = parts.next_element().ok().flatten().unwrap_or(0);
        let settings = QueueSettings { capacity, when_full, groups, retention, group_concurrency };
        Ok(QueueRow { name, paused, settings, tally, fills_groups, steered: None })
    }
}
