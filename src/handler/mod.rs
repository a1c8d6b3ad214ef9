//! What a handler gets and what counts as one.

mod attempt_facts;
mod context;
mod extract;
mod function;
mod inside;
mod job;

pub use context::{Context, Progress};
pub use extract::{Data, FromContext};
pub use function::{BlockingHandler, Handler};
pub use job::Job;

pub(crate) use attempt_facts::{AttemptFacts, CalledAt, CompleteHook};
pub(crate) use extract::DataMap;
pub(crate) use function::{Boxed, Run, Runnable, erase, erase_blocking, erase_blocking_raw, erase_raw};
pub(crate) use inside::{Inside, handler_here};
