//! The contract's interface `config`: settings that the operator gave to the plugin.

use crate::executor::wasm::contract::config::Host;
use crate::executor::wasm::guest::Guest;

impl Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        self.count_call()?;
        Ok(self.plugin.config.get(&key).cloned())
    }
}
