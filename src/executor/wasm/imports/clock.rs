//! The contract's interface `clock`.

use crate::executor::wasm::contract::clock::Host;
use crate::executor::wasm::contract::types::Instant;
use crate::executor::wasm::guest::{Guest, instant};

impl Host for Guest {
    fn now(&mut self) -> wasmtime::Result<Instant> {
        self.count_call()?;
        Ok(instant(self.context.facts().time.wall()))
    }
}
