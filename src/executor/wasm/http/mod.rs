//! Requests that a plugin sends to hosts that it was granted.
//!
//! What is asked for is held against the grants ([`allow`]), its name is resolved here ([`resolver`]) and its addresses are
//! looked at ([`address`]) before anything is connected, and what is connected to is what was looked at ([`exchange`]).
//! A redirect is a new request and goes the same way ([`follow`]).
//!
//! Refuses proxies, cookies, connections that are kept, and to trust a name or a host's answer.

mod address;
mod allow;
mod asked;
mod exchange;
mod follow;
mod resolver;
mod tls;

pub use allow::Allow;
pub(super) use follow::{Requests, send};
pub(super) use resolver::Resolver;
