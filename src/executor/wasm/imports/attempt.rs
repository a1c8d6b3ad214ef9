//! The contract's interface `attempt`: facts about the running attempt.

use crate::executor::wasm::contract::attempt::Host;
use crate::executor::wasm::contract::types::Instant;
use crate::executor::wasm::guest::{Guest, instant, nanoseconds};
use crate::handler::AttemptFacts;

impl Guest {
    fn fact<T>(&mut self, fact: impl FnOnce(&AttemptFacts) -> T) -> wasmtime::Result<T> {
        self.count_call()?;
        Ok(fact(self.context.facts()))
    }
}

impl Host for Guest {
    fn get_job_id(&mut self) -> wasmtime::Result<String> {
        self.fact(|facts| facts.id().to_string())
    }

    fn get_kind(&mut self) -> wasmtime::Result<String> {
        self.fact(|facts| facts.kind.to_string())
    }

    fn get_queue(&mut self) -> wasmtime::Result<String> {
        self.fact(|facts| facts.queue.to_string())
    }

    fn get_number(&mut self) -> wasmtime::Result<u32> {
        self.fact(|facts| facts.attempt)
    }

    fn get_max_number(&mut self) -> wasmtime::Result<u32> {
        self.fact(|facts| facts.max_attempts)
    }

    fn get_enqueued_at(&mut self) -> wasmtime::Result<Instant> {
        self.fact(|facts| instant(facts.enqueued_at()))
    }

    fn get_time_left(&mut self) -> wasmtime::Result<u64> {
        self.count_call()?;
        Ok(self.context.time_left().map_or(u64::MAX, nanoseconds))
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        self.count_call()?;
        Ok(self.context.is_cancelled())
    }
}
