//! The contract's interface `attempt`: facts about the running attempt.

use crate::executor::wasm::contract::attempt::Host;
use crate::executor::wasm::contract::types::Instant;
use crate::executor::wasm::guest::{Guest, instant, nanoseconds};
use crate::handler::AttemptFacts;
use crate::job::EntryOrder;

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
        self.context.facts().guest.asks_for_cancel();
        Ok(self.context.is_cancelled())
    }

    fn get_group(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact(|facts| facts.group().map(str::to_owned))
    }

    fn get_priority(&mut self) -> wasmtime::Result<i32> {
        self.fact(|facts| facts.priority().get().into())
    }

    fn get_tags(&mut self) -> wasmtime::Result<Vec<String>> {
        self.fact(|facts| facts.tags().to_vec())
    }

    fn get_header(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.fact(|facts| facts.header(&name).map(str::to_owned))
    }

    fn get_headers(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        self.fact(|facts| facts.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn get_run_id(&mut self) -> wasmtime::Result<String> {
        self.fact(|facts| facts.run.to_string())
    }

    fn get_schedule(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact(|facts| facts.scheduled_for().map(|run| run.schedule.clone()))
    }

    fn get_scheduled_for(&mut self) -> wasmtime::Result<Option<Instant>> {
        self.fact(|facts| facts.scheduled_for().map(|run| instant(run.at)))
    }

    fn get_stream(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact(|facts| facts.entry().map(|entry| entry.stream.to_string()))
    }

    fn get_offset(&mut self) -> wasmtime::Result<Option<u64>> {
        self.fact(|facts| facts.entry().map(|entry| entry.offset))
    }

    fn get_key(&mut self) -> wasmtime::Result<Option<String>> {
        self.fact(|facts| facts.entry().and_then(|_| EntryOrder::key_of(facts.group())).map(str::to_owned))
    }
}
