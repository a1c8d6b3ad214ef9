//! Runs handlers as sandboxed WebAssembly components. The only module that names wasmtime.
//!
//! A plugin is checked and compiled when it is registered ([`plugin`], [`scan`], [`encode`], [`compiler`], [`wants`],
//! [`version`]), on the thread that registers it. Each attempt gets a fresh instance out of one pool ([`sandbox`],
//! [`places`], [`attempt`]). Its calls to the host are counted against its budgets ([`guest`], [`meter`], [`imports`]),
//! and what it writes stays in memory until its job is done ([`overlay`], [`draft`], [`staging`]). The executor enforces the timeout, as for
//! every attempt: a guest that computes yields at each tick ([`ticker`]), and is dropped there if its time is over. A
//! guest that computes for longer moves to a thread for guests ([`elsewhere`], [`pace`]), so that the application's
//! tasks do not wait for it.
//!
//! Does not decide what follows an attempt, does not write to the file, and trusts nothing that a guest says.

mod attempt;
mod cache;
mod compiler;
mod contract;
mod deployed;
mod draft;
mod elsewhere;
mod encode;
mod exceeded;
mod failure;
mod file;
mod grant;
mod guest;
mod handle;
mod host;
#[cfg(feature = "wasm-http")]
mod http;
mod imports;
mod info;
mod limits;
mod meter;
mod overlay;
mod own_code;
mod pace;
mod places;
mod plain;
mod plugin;
mod random;
mod sandbox;
mod scan;
mod service;
mod serving;
mod staging;
mod ticker;
mod version;
mod wants;
mod warm;
#[cfg(feature = "wasm-wasi")]
mod wasi;
mod watched;

pub use grant::{AppendGrant, EnqueueGrant, Grant, PublishGrant};
pub use handle::PluginHandle;
pub(crate) use host::{Host, Turn};
#[cfg(feature = "wasm-http")]
pub use http::Allow;
pub use info::{PluginImport, PluginInfo};
pub use limits::PluginLimits;
pub use plugin::Plugin;
pub(crate) use plugin::load;
pub(crate) use service::ServiceCounts;
