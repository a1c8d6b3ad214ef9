//! The names of the flows of jobs that are shown.

use crate::runtime::Engine;
use crate::storage::Reader;

/// Reads the names of flows. Nothing is read before the first job that has one, and the flow of the latest job is kept: on a page
/// many jobs are of the same one.
pub(super) struct FlowNames<'e> {
    engine: &'e Engine,
    reader: Option<Reader>,
    latest: Option<(u64, Option<String>)>,
}

impl<'e> FlowNames<'e> {
    pub fn new(engine: &'e Engine) -> Self {
        Self { engine, reader: None, latest: None }
    }

    /// The name of the flow of this number; `None` if it is kept no longer or cannot be read.
    pub fn name(&mut self, flow: u64) -> Option<String> {
        if let Some((number, name)) = &self.latest
            && *number == flow
        {
            return name.clone();
        }
        if self.reader.is_none() {
            self.reader = self.engine.reader().ok();
        }
        let row = self.reader.as_ref()?.flow_numbered(flow).ok()?;
        let name = row.map(|row| row.name);
        self.latest = Some((flow, name.clone()));
        name
    }
}
