//! The web pages and the JSON API of the job queue [Millpond](https://docs.rs/millpond).
//!
//! An application uses it through the feature `dashboard` of Millpond. This crate knows a queue only as a [`Source`].

pub mod api;
mod source;

// The public interface is:
pub use source::{Answer, Source};
