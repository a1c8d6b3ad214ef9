//! Runs one attempt, reports one outcome: one path for results, errors, panics, timeouts and
//! releases.
//!
//! Refuses to decide what follows (`job::life`) or what starts (`scheduler`), and to write.

mod blocking;
mod native;
mod panics;
mod running;
mod slow_poll;
#[cfg(feature = "wasm")]
mod wasm;

pub(crate) use native::{Begun, Binding, Executor, Finished, Handling, Lost, Plan, Report};
pub(crate) use running::Running;
#[cfg(feature = "wasm-http")]
pub use wasm::Allow;
#[cfg(feature = "wasm")]
pub use wasm::{EnqueueGrant, Grant, Plugin, PluginHandle, PluginImport, PluginInfo, PluginLimits};
#[cfg(feature = "wasm")]
pub(crate) use wasm::{Host, Turn, load};
