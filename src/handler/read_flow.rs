//! How a handler reads the flow of its job.

use crate::error::Error;
use crate::job::FlowNode;

/// Reads flows in the file.
pub(crate) trait ReadFlow: Send + Sync {
    /// The name of a flow; `None` if it is kept no longer.
    fn name(&self, flow: u64) -> Result<Option<String>, Error>;

    /// The job or signal of this name in a flow.
    fn node_named(&self, flow: u64, name: &str) -> Result<Option<FlowNode>, Error>;

    /// The jobs and signals of a flow behind this number.
    fn nodes(&self, flow: u64, after: u64, limit: usize) -> Result<Vec<FlowNode>, Error>;
}
