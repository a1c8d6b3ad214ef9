//! The rows of flows that a batch holds in memory, and what has happened to nodes in it.

use std::collections::VecDeque;

use crate::job::{Dependent, FlowRow, IdMap, Node, NodeEnd, NodeState, QueueId};
use serde::{Deserialize, Serialize};

/// The rows of flows that a batch has read, and what has happened to nodes.
#[derive(Default)]
pub(in crate::storage) struct FlowRows {
    pub(super) flows: IdMap<Cached<FlowRow>, u64>,
    pub(super) nodes: IdMap<Cached<Node>, (u64, u64)>,
    /// What has happened to nodes in this batch, and was not followed up yet.
    pub news: VecDeque<NodeNews>,
}

/// A row, or that there is none.
pub(in crate::storage) struct Cached<R> {
    pub row: Option<R>,
    pub is_changed: bool,
}

/// What has happened to a node.
#[derive(Clone, Debug)]
pub(in crate::storage) struct NodeNews {
    pub flow: u64,
    pub node: u64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(in crate::storage) enum What {
    Ended(NodeEnd),
    /// It was a dead letter, and was redriven.
    Resumed,
    /// It was moved to another queue.
    Moved(QueueId),
    /// Its job was in the quarantine.
    Back,
    /// From now on this one waits for it, although it has ended.
    WaitedFor(Dependent),
}

/// What dependents were not told of yet, because they are many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Untold {
    /// What they are told: one after the other.
    pub ends: Vec<Tell>,
    /// How many were told of the first one.
    pub told: u64,
}

/// What the dependents of a node are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Tell {
    /// How it has ended. `None` if it runs again.
    pub ended: Option<NodeState>,
}

/// The rows that were changed, in the order of their keys.
pub(super) fn changed_rows<K: Ord, R>(rows: IdMap<Cached<R>, K>) -> Vec<(K, Option<R>)> {
    let changed = rows.into_iter().filter(|(_, cached)| cached.is_changed);
    let mut changed: Vec<_> = changed.map(|(key, cached)| (key, cached.row)).collect();
    changed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    changed
}

impl FlowRows {
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.nodes.is_empty() && self.news.is_empty()
    }

    /// Notes what has happened to a node. It is followed up before the commit.
    pub fn note(&mut self, flow: u64, node: u64, what: What) {
        self.news.push_back(NodeNews { flow, node, what });
    }

    /// Whether something has happened to a node in this batch that was not followed up yet.
    pub fn has_news_of(&self, flow: u64, node: u64) -> bool {
        self.news.iter().any(|news| (news.flow, news.node) == (flow, node))
    }

    /// The flows that were changed, in the order of their numbers.
    pub fn changed(&self) -> Vec<u64> {
        let changed = self.flows.iter().filter(|(_, cached)| cached.is_changed);
        let mut changed: Vec<u64> = changed.map(|(id, _)| *id).collect();
        changed.sort_unstable();
        changed
    }
}
