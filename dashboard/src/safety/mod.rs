//! Decides whether a request is answered, and what a browser may do with the answer.

mod access;
mod headers;
mod origin;
mod secrets;
mod visit;

pub(crate) use access::{Peer, sessions};
pub(crate) use headers::{asset_headers, security_headers};
pub(crate) use secrets::{Secrets, equal};
pub(crate) use visit::{Visit, guard};
