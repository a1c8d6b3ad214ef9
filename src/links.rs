//! Links: what moves jobs between this file and other machines, as far as it tells.
//!
//! A link is code outside of this crate, such as that of the crate `millpond-links`. It registers itself and tells what becomes of it.
//! This room keeps that in memory, and publishes an event when something has changed that an operator should know. It moves no jobs,
//! it writes nothing, and without links it does nothing.

mod handle;
mod info;
mod registry;

pub use handle::{LinkGuard, LinkHandle};
pub use info::{LinkDirection, LinkInfo, LinkState};
pub(crate) use registry::Registry;
