//! What is told of streams and their consumers.

use serde::Serialize;

use super::{StreamRow, StreamSettings};
use crate::time::Timestamp;

/// A stream, with what it has.
///
/// ```
/// # doc_prelude::with_pond(async |pond| { use doc_prelude::*;
/// let orders = pond.stream("orders")?;
/// orders.append_many((0..10).map(|order| Charge { order })).await?;
/// let info = orders.info()?;
/// assert_eq!((info.first, info.next, info.entries), (0, 10, 10));
/// # Ok(()) });
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StreamInfo {
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
    /// When it was made.
    pub created_at: Timestamp,
}

impl StreamInfo {
    pub(crate) fn new(name: String, row: StreamRow) -> Self {
        let StreamRow { settings, first, next, entries, bytes, created_at, .. } = row;
        Self { name, first, next, entries, bytes, settings, created_at }
    }
}

/// What is known of a consumer.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// The stream.
    pub stream: String,
    /// Its name.
    pub name: String,
    /// The queue of the jobs that its entries become.
    pub queue: String,
    /// The first entry that it is not done with. Entries behind it can be done.
    pub next: u64,
    /// How many entries of the stream it is not done with, at most: entries that compaction has removed count.
    pub behind: u64,
    /// When the first entry that it is not done with was appended. `None` if it is done with all.
    pub behind_since: Option<Timestamp>,
    /// How many entries have become jobs that have not ended: they run, or wait for a retry.
    pub jobs: u64,
    /// How many of its entries are dead letters.
    pub dead: u64,
    /// How many entries retention has removed before it was done with them.
    pub lost: u64,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it has a worker in this process.
    pub running: bool,
    /// When it was started for the first time.
    pub created_at: Timestamp,
}
