//! The types of the JSON API: what a [`Source`](crate::Source) answers, what the pages show, and what a client reads.
//!
//! Times are RFC 3339 texts in UTC. Durations are seconds, as numbers, and their names end in `_seconds`.

mod action;
mod dead;
mod event;
mod flow;
mod history;
mod job;
mod link;
mod node;
mod plugin;
mod pond;
mod problem;
mod quarantine;
mod query;
mod queue;
mod schedule;
mod stream;
mod time;
mod topic;

pub use action::{Action, Change, Done, NewJob, ScheduleChange};
pub use dead::{DeadGroup, DeadSummary};
pub use event::LiveEvent;
pub use flow::{FlowCounts, FlowDetail, FlowEdge, FlowNode, FlowPage, FlowRow, OnFailure, Step};
pub use history::{History, Point};
pub use job::{
    Attempt, Body, Format, Job, JobPage, JobRecord, JobRecordPage, JobRow, LogLine, Progress, ScheduledFor, Why,
};
pub use link::{Link, LinkDirection};
pub use node::{Node, NodeLink, NodeQueue, Nodes};
pub use plugin::{Plugin, PluginState};
pub use pond::{Check, Limit, Overview, Process, Storage, Totals};
pub use problem::{Code, Problem};
pub use quarantine::{QuarantinePage, QuarantinedRow};
pub use query::{JobQuery, Order, Ordering, Paging};
pub use queue::{Circuit, Counts, Group, GroupPage, Overrides, Queue, QueueDetail, Rate, RateChange, Worker};
pub use schedule::{Misfire, Overlap, Schedule, SchedulePage};
pub use stream::{
    Consumer, Entry, EntryOf, EntryPage, EntryQuery, NewEntry, OfStream, ParseSeekError, Seek, Stream, StreamDetail,
    StreamPage, StreamSettings,
};
pub use time::Time;
pub use topic::{Binding, Matched, Topic, TopicDetail, TopicMessage, TopicPage};
