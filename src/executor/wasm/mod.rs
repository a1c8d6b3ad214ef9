//! Handlers as sandboxed WebAssembly components. The only room that names wasmtime.
//!
//! A plugin is checked and compiled when it is registered ([`plugin`], [`scan`], [`encode`], [`compiler`], [`wants`],
//! [`version`]), by whoever registers it. Each attempt gets a fresh instance out of one pool ([`sandbox`], [`places`],
//! [`attempt`]), its calls are held against its budgets ([`guest`], [`meter`], [`imports`]), and what it writes stays
//! with the attempt until its job is done ([`overlay`]). Time is kept where every attempt's is: a guest that computes
//! gives way at each tick ([`ticker`]) and is dropped then if its time is over. Until then it goes on on a thread for guests
//! ([`elsewhere`], [`pace`]), where the application does not feel it.
//!
//! Refuses to decide what follows an attempt, to write, and to trust anything that a guest says.

mod attempt;
mod cache;
mod compiler;
mod contract;
mod deployed;
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
mod ticker;
mod version;
mod wants;
mod warm;
#[cfg(feature = "wasm-wasi")]
mod wasi;
mod watched;

pub use grant::{EnqueueGrant, Grant};
pub use handle::PluginHandle;
pub(crate) use host::{Host, Turn};
#[cfg(feature = "wasm-http")]
pub use http::Allow;
pub use info::{PluginImport, PluginInfo};
pub use limits::PluginLimits;
pub use plugin::Plugin;
pub(crate) use plugin::load;
