//! The topics and bindings of the last commit, which callers share with the writer.

use std::sync::Arc;

use crate::job::Topics;
use crate::sync::RwLock;

/// The topics as of the last commit. A commit that changes one replaces them.
#[derive(Debug, Default)]
pub(crate) struct SharedTopics(RwLock<Arc<Topics>>);

impl SharedTopics {
    pub fn get(&self) -> Arc<Topics> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn set(&self, topics: Arc<Topics>) {
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = topics;
    }
}

/// What a batch has published, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publishes {
    pub published: u64,
    /// How many of these nobody got.
    pub unrouted: u64,
}
