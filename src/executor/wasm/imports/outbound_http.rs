//! The contract's interface `outbound-http`: requests to hosts that the plugin is granted.

use crate::executor::wasm::contract::outbound_http::{Error, Host, Request, Response};
use crate::executor::wasm::guest::Guest;

impl Host for Guest {
    #[cfg(feature = "wasm-http")]
    async fn send(&mut self, request: Request) -> wasmtime::Result<Result<Response, Error>> {
        self.count_call()?;
        let (plugin, time_left) = (self.plugin.clone(), self.context.time_left());
        Ok(crate::executor::wasm::http::send(&plugin, &mut self.requests, request, time_left).await)
    }

    /// Never called: without the feature `wasm-http` the interface is not linked.
    #[cfg(not(feature = "wasm-http"))]
    async fn send(&mut self, _: Request) -> wasmtime::Result<Result<Response, Error>> {
        self.count_call()?;
        Ok(Err(Error::AccessDenied))
    }
}
