//! Sends a plugin's HTTP requests to the hosts that it is granted.
//!
//! A request ([`asked`]) is checked against the grants ([`allow`]). Its host's name is resolved ([`resolver`]) and the
//! addresses are checked ([`address`]) before anything is connected, and only checked addresses are connected to
//! ([`exchange`], [`tls`]). A redirect is a new request and is checked in the same way ([`follow`]).
//!
//! Does not use proxies, store cookies or keep connections open, and trusts neither a name nor a host's response.

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
