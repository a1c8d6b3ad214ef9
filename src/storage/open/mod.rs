//! The open file as a whole: its schema, its transactions, its copies, its compaction.

mod attached;
pub(super) mod compact;
pub(super) mod copy;
pub(super) mod identity;
mod payload_codec;
pub(super) mod schema;
pub(super) mod store;
