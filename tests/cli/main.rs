//! The program `millpond`, as it is used in a terminal.

mod build;
mod changes;
mod check;
mod exits;
mod files;
mod flows;
mod generated;
#[path = "../plugins/guest.rs"]
mod guest;
mod hostile;
mod links;
mod looks;
mod moves;
mod new;
mod pond;
mod process;
mod run;
mod shown;
mod steers;
#[allow(dead_code, reason = "a terminal shows the ids")]
#[path = "../support/stocked.rs"]
mod stock;
mod streams;
mod tls;
mod tool;
mod topics;
mod unattended;
