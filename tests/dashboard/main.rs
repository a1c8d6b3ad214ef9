//! An open queue as the source of the dashboard: what it shows, and what each action does.

#[path = "../support/stocked.rs"]
mod stock;
#[path = "../support/mod.rs"]
mod support;

mod actions;
mod bulk;
mod dead;
mod described;
mod events;
mod flows;
mod links;
mod monitoring;
mod pond;
mod problems;
mod reads;
mod redacted;
mod streams;
