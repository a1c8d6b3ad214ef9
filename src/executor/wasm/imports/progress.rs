use crate::executor::wasm::contract::progress::Host;
use crate::executor::wasm::guest::Guest;

impl Host for Guest {
    fn report(&mut self, done: u64, total: Option<u64>, message: Option<String>) -> wasmtime::Result<()> {
        self.count_call()?;
        self.context.progress(done, total, message.unwrap_or_default());
        Ok(())
    }
}
