//! What the web pages and the JSON API show of an open queue, and how they steer it (feature `dashboard`).
//!
//! A [`PondSource`] makes the types of the [`api`] from the public interface of this crate, and calls it for each
//! [`Action`](api::Action). It holds no read transaction for longer than one page, and never blocks the async runtime.
//! It does not know HTTP.

mod actions;
mod body;
mod check;
mod dead;
mod events;
mod facts;
mod filter;
mod flows;
mod history;
mod jobs;
mod links;
mod metrics;
mod overview;
mod plugins;
mod problems;
mod quarantine;
mod queues;
mod redact;
mod schedules;
mod served;
mod source;
mod streams;
mod topics;

use check::found;
pub use millpond_dashboard::{
    Actor, Answer, Audited, Listen, Options, ServeError, Server, Source, amounts, api, json, router as router_of,
    serve as serve_source,
};
pub use served::{router, serve};
pub use source::PondSource;
