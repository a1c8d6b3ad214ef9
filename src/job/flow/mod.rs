//! Flows: jobs that wait for jobs. Words and rules, without storage: what a flow and its nodes are, what a dependent does when
//! a dependency has ended, and when a flow has settled.

mod counts;
mod created;
mod graph;
mod info;
mod node;
mod plan;

#[cfg(test)]
pub(crate) use counts::When as FlowEnd;
pub(crate) use counts::{Callback, FlowRow};
pub use counts::{FlowCounts, FlowState};
pub use created::FlowCreated;
pub use graph::{FlowEdge, FlowGraph};
pub use info::{FlowInfo, FlowNode, FlowNodeKind};
pub(crate) use node::{Dependent, Node, NodeEnd, Told, What};
pub use node::{NodeState, OnFailure};
pub(crate) use plan::{Dep, NewFlow, NewNode, NewWhat, NodeRef};
pub use plan::{Dependency, FlowDraft, FlowJob, FlowSignal};

/// Bytes of results in one page of a flow's nodes, approximately: a page ends with the node that reaches this.
pub(crate) const FLOW_PAGE_BYTES: usize = 8 << 20;

/// The place of a new job in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowPlace {
    pub flow: u64,
    /// Whether it waits for others.
    pub is_blocked: bool,
}
