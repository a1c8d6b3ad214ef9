//! Topics and bindings as they are stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::QueueId;
use crate::time::Timestamp;

/// Where a message goes. Queues come before streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Destination {
    /// By its number, so a queue that gets another name keeps its bindings.
    Queue(QueueId),
    /// By its name, as consumers know their streams: a stream keeps its name, and what is appended names it.
    Stream(Arc<str>),
}

impl Destination {
    pub fn queue(&self) -> Option<QueueId> {
        match self {
            Self::Queue(queue) => Some(*queue),
            Self::Stream(_) => None,
        }
    }

    pub fn stream(&self) -> Option<&Arc<str>> {
        match self {
            Self::Queue(_) => None,
            Self::Stream(stream) => Some(stream),
        }
    }
}

/// A topic, without its bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicRow {
    pub alternate: Option<Destination>,
    pub mandatory: bool,
    pub created_at: Timestamp,
}

/// A binding of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BindingRow {
    pub to: Destination,
    /// `None` matches every key.
    pub key: Option<String>,
    /// Headers that a message must all have. Sorted.
    pub headers_all: Vec<(String, String)>,
    /// Headers of which a message must have one, unless there are none. Sorted.
    pub headers_any: Vec<(String, String)>,
    pub created_at: Timestamp,
}

impl BindingRow {
    /// The pattern of its key: without a key the one that matches all.
    pub fn pattern(&self) -> &str {
        self.key.as_deref().unwrap_or("#")
    }

    /// Whether both bind the same messages to the same destination.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |row: &Self| (row.key.clone(), row.headers_all.clone(), row.headers_any.clone());
        self.to == other.to && of(self) == of(other)
    }

    /// Whether a message with these headers fulfils its conditions.
    pub fn accepts(&self, headers: &BTreeMap<String, String>) -> bool {
        let has = |(name, value): &(String, String)| headers.get(name).is_some_and(|found| found == value);
        self.headers_all.iter().all(has) && (self.headers_any.is_empty() || self.headers_any.iter().any(has))
    }
}
