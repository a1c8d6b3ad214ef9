//! The contract's interface `topics`: messages, which are published with the job's completion.

use wasmtime::component::Resource;

use crate::executor::wasm::contract::topics::{Error, Host};
use crate::executor::wasm::draft::Draft;
use crate::executor::wasm::guest::Guest;
use crate::executor::wasm::overlay::To;
use crate::executor::wasm::staging::Refused;

impl Host for Guest {
    fn publish(&mut self, topic: String, key: String, message: Resource<Draft>) -> wasmtime::Result<Result<(), Error>> {
        self.count_call()?;
        let draft = self.take_draft(message)?;
        Ok(self.stage(draft, To::Topic { topic, key }).map_err(|refused| match refused {
            Refused::AccessDenied => Error::AccessDenied,
            Refused::NoSuchTopic => Error::NoSuchTopic,
            Refused::Unroutable => Error::Unroutable,
            Refused::PayloadTooLarge => Error::PayloadTooLarge,
            Refused::QuotaExceeded => Error::QuotaExceeded,
            Refused::Other(what) => Error::Other(what),
        }))
    }
}
