//! Topics, as far as they need no file: which bindings a routing key and headers match, and what a publish answers.
//!
//! A message is matched on the thread of its caller, and again by the writer if the bindings have changed meanwhile. So
//! everything here is pure, and its work is bounded whatever the patterns are.

mod binding;
mod key;
mod patterns;
mod published;
mod routes;
mod row;

pub use binding::{Binding, Recipient};
pub(crate) use key::RoutingKey;
pub use published::{Delivery, Matched, Published, TopicInfo, TopicSettings};
pub(crate) use routes::{BINDINGS_MAX, Routed, TOPICS_MAX, TopicRoutes, Topics};
pub(crate) use row::{BindingRow, Destination, TopicRow};
