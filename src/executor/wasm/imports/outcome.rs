//! The contract's interface `outcome`: what a guest says about the outcome that it is about to return.

use crate::executor::wasm::contract::outcome::Host;
use crate::executor::wasm::guest::{Guest, RateLimit};

impl Host for Guest {
    fn set_rate_limited(&mut self) -> wasmtime::Result<()> {
        self.count_call()?;
        self.rate_limit = Some(RateLimit::Group);
        Ok(())
    }

    fn set_rate_limited_queue(&mut self) -> wasmtime::Result<()> {
        self.count_call()?;
        self.rate_limit = Some(RateLimit::Queue);
        Ok(())
    }
}
