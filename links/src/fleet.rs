//! The machines of a fleet: each of them answers what its queues and links are like, and who wants to know asks all of them at once.
//!
//! Nothing of this is stored, and nothing depends on it: an answer that is lost is a machine that is shown as not answering.

mod announce;
mod info;
mod memory;
#[cfg(feature = "dashboard")]
mod shown;
mod watch;

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

pub use announce::Node;
pub use info::{NodeInfo, NodeLink, NodeQueue};
pub use memory::MemoryFleet;
pub use watch::{Answers, NodeStatus, Watch};

use crate::Unavailable;

/// The most bytes of an answer of a node. Longer ones are ignored.
pub const ANSWER_BYTES_MAX: usize = 128 << 10;

/// The most answers to one question. More nodes are not seen.
pub const ANSWERS_MAX: usize = 1_000;

/// What is needed of an engine to see the nodes of a fleet: a question that reaches all of them, and their answers. Clones are the same
/// fleet.
pub trait Fleet: Clone + Send + Sync + 'static {
    /// Answers each question with what `answer` returns, until the engine cannot be used any more. Then it says why.
    fn serve<A>(&self, answer: impl Fn() -> A + Send + Sync) -> impl Future<Output = Unavailable> + Send
    where
        A: Future<Output = Bytes> + Send;

    /// Asks all nodes, and returns what they have answered `within` this time: at most [`ANSWERS_MAX`] answers. They can come from
    /// anybody who may use the engine.
    fn ask(&self, within: Duration) -> impl Future<Output = Result<Vec<Bytes>, Unavailable>> + Send;
}
