//! The nodes of a fleet.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What the nodes of a fleet have answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// The nodes, by name.
    pub nodes: Vec<Node>,
    /// How many answers were ignored, because no node can have written them, or there were too many.
    pub ignored: u64,
    /// Why the nodes were not asked, if so. What they have answered before is there.
    pub problem: Option<String>,
}

/// A node: a file of another machine, or this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// The name that its application has given it.
    pub name: String,
    /// The identity of its file.
    pub file: String,
    /// The version of the software that it uses.
    pub version: String,
    /// Whether it has answered the latest question in time.
    pub is_answering: bool,
    /// When its latest answer came. All else is of that time.
    pub seen_at: Time,
    /// Why its queues could not work, if so.
    pub degraded: Option<String>,
    /// Its first queues, by name.
    pub queues: Vec<NodeQueue>,
    /// How many more queues it has.
    pub more_queues: u64,
    /// Its first links.
    pub links: Vec<NodeLink>,
    /// How many more links it has.
    pub more_links: u64,
}

/// A queue of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeQueue {
    /// Its name.
    pub name: String,
    /// Whether it is paused.
    pub is_paused: bool,
    /// Jobs that could run.
    pub pending: u64,
    /// Jobs that run.
    pub running: u64,
    /// Jobs that are due later.
    pub scheduled: u64,
    /// Jobs that have failed and run again.
    pub retrying: u64,
    /// Jobs that wait for others of their flows.
    pub blocked: u64,
    /// Dead letters.
    pub dead: u64,
    /// Jobs that have ever completed.
    pub completed_total: u64,
}

/// A link of a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeLink {
    /// Its name.
    pub name: String,
    /// Whether its engine answers.
    pub is_connected: bool,
    /// The latest error.
    pub last_error: Option<String>,
    /// Jobs that are still to be moved, if that is known.
    pub lag: Option<u64>,
    /// How often its engine or its file went back.
    pub went_back: u64,
}
