//! Power cuts: what is done to a simulated disk is recorded once and crashed everywhere.

mod bare_redb;
#[path = "../support/sim_disk/mod.rs"]
mod sim_disk;
