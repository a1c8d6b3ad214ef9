//! The contract's interface `flow`: what the other jobs of the job's flow have returned.

use crate::error::Error as QueueError;
use crate::executor::wasm::contract::flow::{Error, Host};
use crate::executor::wasm::grant::Grant;
use crate::executor::wasm::guest::Guest;

impl Host for Guest {
    fn get_result(&mut self, name: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        self.count_call()?;
        if !self.plugin.grants.iter().any(Grant::is_flow_results) {
            return Ok(Err(Error::AccessDenied));
        }
        let node = self.context.flow_node(&name);
        Ok(node.map(|node| node.result.map(Vec::from)).map_err(|error| match error {
            QueueError::NoSuchFlow { .. } => Error::NoFlow,
            QueueError::InvalidFlow { .. } => Error::NoSuchName,
            error => {
                tracing::error!(plugin = self.plugin.name, %error, "the results of a flow could not be read");
                Error::StoreUnavailable
            }
        }))
    }
}
