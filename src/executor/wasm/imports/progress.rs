//! The contract's interface `progress`.

use crate::executor::wasm::contract::progress::Host;
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::plain::plain;

impl Host for Guest {
    fn report(&mut self, done: u64, total: Option<u64>, message: Option<String>) -> wasmtime::Result<()> {
        self.count_call()?;
        self.context.progress(done, total, plain(message.unwrap_or_default()));
        Ok(())
    }
}
