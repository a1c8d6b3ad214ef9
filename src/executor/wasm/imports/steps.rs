//! The contract's interface `steps`: parts of the guest's work whose results are durable before the job ends. They are stored
//! by the same code as those of a Rust handler, without a codec for their results.

use std::time::Duration;

use crate::error::{BoxError, Error as QueueError};
use crate::executor::wasm::contract::steps::{Begun, Error, Host};
use crate::executor::wasm::guest::Guest;
use crate::job::{ClassedError, FailureKind, Suspended};

type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Guest {
    fn begin(&mut self, name: String) -> Answer<Begun> {
        self.count_call()?;
        let begun = self.context.check_step_room(&name).and_then(|()| self.context.begin_step(&name));
        Ok(begun.map(|(name, stored)| Begun { name, stored: stored.map(Vec::from) }).map_err(|error| self.told(error)))
    }

    async fn finish(&mut self, name: String, result: Vec<u8>) -> Answer<Vec<u8>> {
        self.count_call()?;
        let counts = self.context.finish_step(name, result.into()).await;
        Ok(counts.map(Vec::from).map_err(|error| self.told(error)))
    }

    async fn sleep(&mut self, name: String, time: u64) -> Answer<()> {
        self.count_call()?;
        let slept = async {
            self.context.check_step_room(&name)?;
            self.context.sleep(&name, Duration::from_nanos(time)).await
        };
        Ok(slept.await.map_err(|error| self.told(error)))
    }

    async fn wait_for(&mut self, name: String, timeout: Option<u64>) -> Answer<Option<Vec<u8>>> {
        self.count_call()?;
        let signal = async {
            self.context.check_step_room(&name)?;
            self.context.wait_for_bytes(&name, timeout.map(Duration::from_nanos)).await
        };
        Ok(signal.await.map(|(_, signal)| signal.map(Vec::from)).map_err(|error| self.told(error)))
    }
}

impl Guest {
    /// What the guest is told of an error. Errors of the storage are for the operator.
    fn told(&self, error: BoxError) -> Error {
        if error.is::<Suspended>() {
            return Error::Suspended;
        }
        match error.downcast_ref::<ClassedError>() {
            Some(ClassedError { kind: FailureKind::Undecodable, message }) => return Error::Changed(message.clone()),
            Some(other) => return Error::Other(other.message.clone()),
            None => {}
        }
        match error.downcast_ref::<QueueError>() {
            Some(QueueError::InvalidKey { .. } | QueueError::InvalidConfig { .. }) => {
                Error::InvalidName(error.to_string())
            }
            Some(QueueError::TooManySteps { .. }) => Error::TooManySteps,
            Some(QueueError::NoSuchJob { .. } | QueueError::Unencodable { .. }) | None => {
                Error::Other(error.to_string())
            }
            Some(_) => {
                tracing::error!(plugin = self.plugin.name, %error, "a plugin's step could not be read or stored");
                Error::StoreUnavailable
            }
        }
    }
}
