//! The web pages and the JSON API of the job queue [Millpond](https://docs.rs/millpond).
//!
//! An application uses it through the feature `dashboard` of Millpond. This crate knows a queue only as a [`Source`]:
//! everything that is shown is one of the types in [`api`], and everything that is changed is an [`Action`](api::Action).
//!
//! | Module | What it does |
//! |---|---|
//! | `amounts` | numbers, sizes and durations for people |
//! | `json` | JSON as text |
//! | `api` | the types of the JSON API |
//! | `source` | what the dashboard needs to know |
//! | `options` | who may use it, and what they may do |
//! | `safety` | whether a request is answered, and what a browser may do with the answer |
//! | `change` | the one way of every change |
//! | `http` | what programs ask for |
//! | `pages` | what people ask for |
//! | `router`, `server` | where it is served |

pub mod amounts;
pub mod api;
mod change;
mod http;
pub mod json;
mod options;
mod pages;
mod router;
mod safety;
mod server;
mod site;
mod source;

// The public interface is:
/// The version of axum that the [`router`](router()) is for.
pub use axum;
pub use options::{Actor, Audited, Options};
pub use router::router;
pub use server::{Listen, ServeError, Server, serve};
pub use source::{Answer, Source};
