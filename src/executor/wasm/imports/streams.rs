//! The contract's interface `streams`: entries, which are appended with the job's completion.

use wasmtime::component::Resource;

use crate::executor::wasm::contract::streams::{Error, Host};
use crate::executor::wasm::draft::Draft;
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::overlay::To;
use crate::executor::wasm::staging::Refused;

impl Host for Guest {
    fn append(&mut self, stream: String, entry: Resource<Draft>) -> wasmtime::Result<Result<(), Error>> {
        self.count_call()?;
        let draft = self.take_draft(entry)?;
        Ok(self.stage(draft, To::Stream(stream)).map_err(|refused| match refused {
            Refused::AccessDenied => Error::AccessDenied,
            Refused::PayloadTooLarge => Error::PayloadTooLarge,
            Refused::QuotaExceeded => Error::QuotaExceeded,
            other => Error::Other(other.into_text()),
        }))
    }
}
