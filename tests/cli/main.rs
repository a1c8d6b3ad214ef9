//! The program `millpond`, as a person at a terminal has it.

mod build;
mod check;
#[path = "../it/wasm/guest.rs"]
mod guest;
mod new;
mod run;
mod shown;
mod tool;
