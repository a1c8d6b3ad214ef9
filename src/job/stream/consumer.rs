//! Consumers: where they begin, in which order they handle entries, and their rows in the file.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Cursor, EntryPlace, StreamId};
use crate::time::Timestamp;

/// Where a consumer begins to read.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.consumer("orders", "billing")
///     .from(Start::Latest)
///     .handle(|_: Job<Charge>| async { Ok(()) })
///     .start()
///     .await?;
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Start {
    /// With the first entry that the stream has.
    Earliest,
    /// With the first entry that is appended from now on.
    Latest,
    /// With this entry, or the first one behind it.
    Offset(u64),
    /// With the first entry that was appended at this time of the wall clock or later.
    Time(Timestamp),
}

/// In which order a consumer handles entries.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// pond.consumer("clicks", "counter")
///     .order(EntryOrder::None)
///     .concurrency(50)
///     .handle(|_: Job<Charge>| async { Ok(()) })
///     .start()
///     .await?;
/// # Ok(()) });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EntryOrder {
    /// The entries of a key one after another, those of different keys beside one another. Entries without a key are handled
    /// as if they had the same key.
    #[default]
    ByKey,
    /// All entries one after another. While one waits for a retry, all wait.
    Total,
    /// In no order, as many at a time as the consumer has slots.
    None,
}

/// The group of entries without a key.
const NO_KEY: &str = "(no key)";

/// The group of all entries of a consumer that handles them one after another.
const ALL: &str = "(all)";

impl EntryOrder {
    /// The group of an entry with this key: of those of a group one is handled at a time.
    pub(crate) fn group_of(self, key: Option<&Arc<str>>) -> Option<Arc<str>> {
        match (self, key) {
            (Self::ByKey, Some(key)) => Some(key.clone()),
            (Self::ByKey, None) => Some(NO_KEY.into()),
            (Self::Total, _) => Some(ALL.into()),
            (Self::None, _) => None,
        }
    }

    /// The key of an entry in this group. `None` if it has none, or if its consumer handles entries in another order.
    #[cfg_attr(not(feature = "wasm"), expect(dead_code, reason = "only plugins are told the key alone"))]
    pub(crate) fn key_of(group: Option<&str>) -> Option<&str> {
        group.filter(|group| !matches!(*group, NO_KEY | ALL))
    }
}

/// The name of a consumer's queue: the jobs that its entries become are in it.
pub(crate) fn consumer_queue(stream: &str, consumer: &str) -> String {
    format!("{stream}:{consumer}")
}

/// A consumer in the file. Its key is the number of its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumerRow {
    pub stream: Arc<str>,
    pub name: Arc<str>,
    pub cursor: Cursor,
    /// How often it was moved. An entry that was read before does not move its cursor any more.
    pub epoch: u32,
    /// How many entries retention has removed that it was not done with.
    pub lost: u64,
    pub created_at: Timestamp,
}

impl ConsumerRow {
    /// Whether it is the consumer of this name. Another one has the same queue if the names have colons.
    pub fn is(&self, stream: &str, name: &str) -> bool {
        *self.stream == *stream && *self.name == *name
    }

    /// Whether the consumer has not passed this entry, and was not moved since it was read.
    pub fn has_in_hand(&self, entry: &EntryPlace) -> bool {
        entry.passed.is_some_and(|passed| passed.epoch == self.epoch) && self.cursor.is_open(entry.of.offset)
    }
}

/// What dispatch needs to know to feed a consumer.
#[derive(Clone, Debug)]
pub(crate) struct Feeding {
    pub stream: Arc<str>,
    pub number: StreamId,
    pub order: EntryOrder,
}
