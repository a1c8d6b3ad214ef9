//! The rows of streams and consumers that a batch holds in memory, and its new entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::job::{ConsumerRow, IdMap, QueueId, StreamId, StreamRow};
use crate::storage::rows::flow_rows::Cached;

/// The rows of streams and consumers that a batch has read or changed.
#[derive(Default)]
pub(in crate::storage) struct StreamRows {
    pub(super) streams: BTreeMap<Arc<str>, Cached<StreamRow>>,
    pub(super) consumers: IdMap<Cached<ConsumerRow>, QueueId>,
    /// Entries that are not in their table yet.
    pub(super) arriving: Vec<((StreamId, u64), Bytes)>,
}

/// What dispatch and readers are told of streams after a commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamNews {
    /// Streams that have new entries, with the offset behind the last one.
    pub grown: Vec<(StreamId, u64)>,
}
