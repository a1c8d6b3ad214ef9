//! A new entry of a stream, before it is stored.

use std::sync::Arc;

use crate::job::{KindId, Labels, StoredPayload};
use crate::time::{Now, Timestamp};

/// What a new entry says.
#[derive(Clone, Debug)]
pub(crate) struct NewEntry {
    pub kind: KindId,
    pub key: Option<Arc<str>>,
    pub labels: Option<Arc<Labels>>,
    /// How many plugins' jobs and entries it descends from.
    pub generation: u32,
    pub payload: StoredPayload,
    /// When it is appended, as it is shown.
    pub at: Timestamp,
    /// The same on the age line.
    pub age: Timestamp,
}

impl NewEntry {
    pub fn new(kind: KindId, payload: StoredPayload, now: Now) -> Self {
        Self { kind, key: None, labels: None, generation: 0, payload, at: now.wall, age: now.age }
    }
}
