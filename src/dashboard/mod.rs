//! What the web pages and the JSON API show of an open queue, and how they steer it (feature `dashboard`).
//!
//! A [`PondSource`] makes the types of the [`api`] from the public interface of this crate, and calls it for each
//! [`Action`](api::Action). It holds no read transaction for longer than one page, and never blocks the async runtime.
//! It does not know HTTP.

mod actions;
mod body;
mod dead;
mod events;
mod history;
mod jobs;
mod metrics;
mod not_known;
mod overview;
mod problems;
mod quarantine;
mod queues;
mod redact;
mod schedules;
mod source;

pub use millpond_dashboard::{Answer, Source, api};
pub use source::PondSource;
