//! Plugins: what they may, what they are kept from, and what is told of it.

mod built;
mod cache;
mod checked;
mod crash;
mod evolution;
mod examples;
mod follow_ups;
mod guest;
mod limits;
#[cfg(feature = "wasm-http")]
mod lookups;
mod outcomes;
#[cfg(feature = "wasm-wasi")]
mod prints;
#[path = "../../golden/recorder.rs"]
mod recorder;
mod registration;
mod reuse;
mod service;
mod state;
mod threats;
mod told;
mod watched;
#[cfg(feature = "wasm-http")]
mod web;
