//! What a guest may call, a file per interface of the contract. Each call is counted first.

mod attempt;
mod clock;
mod config;
mod enqueue;
mod log;
mod outbound_http;
mod progress;
mod random;
mod state;

use wasmtime::component::{HasSelf, Linker};

use super::contract::{JobHandler, LinkOptions, types};
use super::guest::Guest;

impl types::Host for Guest {}

/// `http`: with what a plugin may only call if it was granted hosts.
pub(super) fn add_to(linker: &mut Linker<Guest>, http: bool) -> wasmtime::Result<()> {
    let mut options = LinkOptions::default();
    options.state_scan(true);
    options.outbound_http(http);
    JobHandler::add_to_linker::<_, HasSelf<_>>(linker, &options, |guest| guest)
}
