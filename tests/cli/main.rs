//! The program `millpond`, as it is used in a terminal.

mod build;
mod check;
#[path = "../plugins/guest.rs"]
mod guest;
mod new;
mod run;
mod shown;
mod tool;
