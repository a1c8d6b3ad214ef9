//! Plugins: what they are allowed to do, what they are refused, and what is reported about them.

#[path = "../support/files.rs"]
mod files;
#[path = "../support/mod.rs"]
mod support;

mod bombs;
mod built;
mod cache;
mod cancels;
mod checked;
mod consumers;
mod crash;
mod evolution;
mod examples;
mod flow_results;
mod follow_up_options;
mod follow_ups;
mod guest;
mod limits;
#[cfg(feature = "wasm-http")]
mod lookups;
mod mock;
mod outcomes;
mod places;
#[cfg(feature = "wasm-wasi")]
mod prints;
mod rate_limits;
mod registration;
mod results;
mod reuse;
mod sent;
mod service;
mod state;
mod status;
mod steps;
mod threads;
mod threats;
mod told;
mod watched;
#[cfg(feature = "wasm-http")]
mod web;
