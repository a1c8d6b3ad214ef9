//! Rows: the tables and their keys, rows as bytes, and one write transaction with what it keeps in memory.
//!
//! Refuses to know what happens to a job: which rows go together is said in `life/`.

pub(super) mod aside;
pub(super) mod batch;
pub(super) mod by_flow;
pub(super) mod by_group;
pub(super) mod by_stream;
pub(super) mod catalog;
pub(super) mod codec;
pub(super) mod expiry;
pub(super) mod fault;
pub(super) mod flow_rows;
pub(super) mod flow_times;
pub(super) mod former_queues;
pub(super) mod keys;
pub(super) mod migrations;
pub(super) mod on_demand;
pub(super) mod place;
pub(super) mod prepared;
pub(super) mod queue_row;
pub(super) mod reader;
pub(super) mod ready;
mod runs;
pub(super) mod schedule_times;
pub(super) mod sections;
pub(super) mod start_mark;
pub(super) mod stream_rows;
pub(super) mod table_name;
pub(super) mod tables;
pub(super) mod tables_ext;
pub(super) mod tally;
pub(super) mod topics;
pub(super) mod unreadable;
pub(super) mod untrusted;
pub(super) mod version;
