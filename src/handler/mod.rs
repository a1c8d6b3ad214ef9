//! Handlers: what can be one, and what it receives.

mod attempt_facts;
mod attempt_steps;
mod batch;
mod context;
mod data_map;
mod extract;
mod function;
#[cfg(feature = "wasm")]
mod guest_facts;
#[cfg(not(feature = "wasm"))]
#[path = "no_guest_facts.rs"]
mod guest_facts;
#[cfg(feature = "wasm")]
mod guest_steps;
mod inside;
mod job;
mod middleware;
mod read_flow;
mod shared;
mod step;
mod step_store;
mod steps;
mod steps_in_memory;
mod undoing;

pub use batch::{Batch, BatchHandler, IntoVerdicts, Jobs, Verdicts};
pub use context::Context;
pub use extract::{Data, FromContext};
pub use function::{BlockingHandler, Handler};
pub use job::Job;
pub use middleware::{Next, NextBlocking};
pub use step::Step;

pub(crate) use attempt_facts::{AttemptFacts, CalledAt, CompleteHook};
pub(crate) use batch::{BatchCall, BoxedBatch};
pub(crate) use data_map::DataMap;
pub(crate) use function::{
    Boxed, Calling, Run, Runnable, erase, erase_any, erase_batch, erase_batch_any, erase_batch_raw, erase_blocking,
    erase_blocking_raw, erase_raw,
};
pub(crate) use guest_facts::GuestFacts;
pub(crate) use inside::{Inside, handler_here};
pub(crate) use middleware::Middleware;
pub(crate) use read_flow::ReadFlow;
pub(crate) use shared::Shared;
pub(crate) use step_store::{NewStep, StepAnswer, StepOf, StepStore, StepWrite};
