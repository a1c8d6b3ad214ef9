//! Runs attempts and reports how each one ended: one path for results, errors, panics, timeouts and releases.
//!
//! Refuses to decide what follows (`job::life`) or what starts (`scheduler`), and to write.

mod attempt;
mod batch;
mod binding;
mod blocking;
mod endings;
mod foreign;
mod forming;
mod native;
mod panics;
mod polls;
mod running_attempts;
mod slow_poll;
mod spans;
mod task;
#[cfg(feature = "wasm")]
mod wasm;

pub(crate) use attempt::Attempt;
pub(crate) use binding::{Binding, Handling};
pub(crate) use endings::cannot_undo;
pub(crate) use foreign::ForeignHandler;
pub(crate) use forming::Joined;
pub(crate) use native::Executor;
pub(crate) use task::{AttemptTask, Lost, Report};
#[cfg(feature = "wasm-http")]
pub use wasm::Allow;
#[cfg(feature = "wasm")]
pub use wasm::{
    AppendGrant, EnqueueGrant, Grant, Plugin, PluginHandle, PluginImport, PluginInfo, PluginLimits, PublishGrant,
};
#[cfg(feature = "wasm")]
pub(crate) use wasm::{Host, ServiceCounts, Turn, load};
