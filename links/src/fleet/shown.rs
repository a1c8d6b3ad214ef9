//! The nodes of a fleet as the dashboard shows them.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use millpond::Timestamp;
use millpond::dashboard::api;

use super::{Answers, Fleet, NodeInfo, NodeLink, NodeQueue, NodeStatus, Watch};

impl<F: Fleet> Watch<F> {
    /// For [`Options::nodes`](millpond::dashboard::Options::nodes): the dashboard of this machine shows all nodes. Feature `dashboard`.
    ///
    /// ```
    /// # use millpond_links::{MemoryFleet, Watch};
    /// # let fleet = MemoryFleet::new();
    /// use millpond::dashboard::Options;
    ///
    /// let options = Options::new().nodes(Watch::new(&fleet).for_dashboard());
    /// # let _ = options;
    /// ```
    pub fn for_dashboard(self) -> impl Fn() -> BoxFuture<'static, api::Nodes> + Send + Sync + 'static {
        move || {
            let watch = self.clone();
            async move { shown(watch.nodes().await) }.boxed()
        }
    }
}

fn shown(answers: Answers) -> api::Nodes {
    let Answers { nodes, ignored, error } = answers;
    api::Nodes { nodes: nodes.into_iter().map(node).collect(), ignored, problem: error }
}

fn time(at: Timestamp) -> api::Time {
    api::Time(at.as_millis())
}

fn node(node: NodeStatus) -> api::Node {
    let NodeStatus { info, seen_at, is_answering } = node;
    let NodeInfo { name, file, version, degraded, queues, more_queues, links, more_links, .. } = info;
    api::Node {
        name,
        file,
        version,
        is_answering,
        seen_at: time(seen_at),
        degraded,
        queues: queues.into_iter().map(queue).collect(),
        more_queues,
        links: links.into_iter().map(link).collect(),
        more_links,
    }
}

fn queue(queue: NodeQueue) -> api::NodeQueue {
    let NodeQueue { name, paused, pending, running, scheduled, retrying, blocked, dead, completed_total } = queue;
    api::NodeQueue { name, is_paused: paused, pending, running, scheduled, retrying, blocked, dead, completed_total }
}

fn link(link: NodeLink) -> api::NodeLink {
    let NodeLink { name, connected, last_error, lag, went_back } = link;
    api::NodeLink { name, is_connected: connected, last_error, lag, went_back }
}
