//! The contract's interface `random`.

use crate::executor::wasm::contract::random::Host;
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::random::BYTES_MAX;

impl Host for Guest {
    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.random.number()?)
    }

    fn get_random_bytes(&mut self, max_len: u64) -> wasmtime::Result<Vec<u8>> {
        self.count_call()?;
        let mut bytes = vec![0; max_len.min(BYTES_MAX) as usize];
        self.random.fill(&mut bytes)?;
        Ok(bytes)
    }
}
