//! The contract's interface `outcome`: what a guest says about the outcome that it is about to return.

use crate::executor::wasm::contract::outcome::{Error, Host};
use crate::executor::wasm::grant::Grant;
use crate::executor::wasm::guest::{Guest, RateLimit};

impl Host for Guest {
    fn set_rate_limited(&mut self) -> wasmtime::Result<Result<(), Error>> {
        self.say_rate_limited(RateLimit::Group)
    }

    fn set_rate_limited_queue(&mut self) -> wasmtime::Result<Result<(), Error>> {
        self.say_rate_limited(RateLimit::Queue)
    }
}

impl Guest {
    fn say_rate_limited(&mut self, which: RateLimit) -> wasmtime::Result<Result<(), Error>> {
        self.count_call()?;
        if !self.plugin.grants.iter().any(Grant::is_rate_limit) {
            return Ok(Err(Error::AccessDenied));
        }
        self.rate_limit = Some(which);
        Ok(Ok(()))
    }
}
