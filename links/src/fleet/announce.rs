//! A node answers what its file is like.

use millpond::Millpond;
use tokio::task::JoinHandle;

use super::Fleet;
use super::info::{NodeInfo, check_name};
use crate::error::Error;
use crate::forward::Pause;

/// A file that answers to a fleet. It holds a handle of the file. Dropping it ends that.
///
/// ```
/// # use std::time::Duration;
/// # use millpond::Millpond;
/// # use millpond_links::{MemoryFleet, Node, Watch};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), millpond::BoxError> {
/// # let directory = tempfile::tempdir()?;
/// # let fleet = MemoryFleet::new();
/// // On each machine:
/// let pond = Millpond::open(directory.path().join("device.redb"))?;
/// let _node = Node::announce(&pond, &fleet, "device-7").await?;
///
/// // Anywhere:
/// let watch = Watch::new(&fleet);
/// # while watch.nodes().await.nodes.is_empty() {}
/// for node in watch.nodes().await.nodes {
///     println!("{}: {} queues, answers: {}", node.info.name, node.info.queues.len(), node.is_answering);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Node {
    task: JoinHandle<()>,
}

impl Node {
    /// From now on the file answers under this name: 1 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`. The engine need not be reachable
    /// yet. Two files of one name are two nodes.
    ///
    /// # Errors
    /// [`Error::InvalidNodeName`]; [`Error::Queue`] if the file cannot be written, to give it an identity.
    pub async fn announce<F: Fleet>(pond: &Millpond, fleet: &F, name: impl Into<String>) -> Result<Self, Error> {
        let name = check_name(name.into())?;
        let file = pond.identity().await?.id;
        let (pond, fleet) = (pond.clone(), fleet.clone());
        let task = tokio::spawn(async move {
            let mut pause = Pause::default();
            loop {
                let answer = || {
                    // Counts are in memory.
                    let answer = NodeInfo::of(&pond, &name, file).encode();
                    async { answer }
                };
                let error = fleet.serve(answer).await;
                tracing::debug!(%error, "the node does not hear questions for now");
                tokio::time::sleep(pause.next()).await;
            }
        });
        Ok(Self { task })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}
