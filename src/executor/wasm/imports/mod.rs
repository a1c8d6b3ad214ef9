//! The functions that a guest can call, one file for each interface of the contract. Each call is counted first.

mod attempt;
mod clock;
mod config;
mod enqueue;
mod flow;
mod log;
mod outbound_http;
mod outcome;
mod progress;
mod random;
mod state;
mod steps;
mod streams;
mod topics;

use wasmtime::component::{HasSelf, Linker};

use super::contract::{JobHandler, LinkOptions, types};
use super::guest::Guest;

impl types::Host for Guest {}

/// Adds the contract's interfaces to the linker. `outbound-http` is added only if `http` is set, for a plugin that is
/// granted hosts.
pub(super) fn add_to(linker: &mut Linker<Guest>, http: bool) -> wasmtime::Result<()> {
    let mut options = LinkOptions::default();
    options.state_scan(true);
    options.outbound_http(http);
    JobHandler::add_to_linker::<_, HasSelf<_>>(linker, &options, |guest| guest)
}
