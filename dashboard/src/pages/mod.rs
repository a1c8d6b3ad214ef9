//! The pages: one file each, and the parts that they share in `view`.

mod act;
mod confirm;
mod dead;
mod events;
mod filters;
mod groups;
mod job;
mod job_table;
mod jobs;
mod limits;
mod log_in;
mod overview;
mod plugins;
mod problem;
mod quarantine;
mod queue;
mod queue_head;
mod schedule;
mod schedules;
mod view;

pub(crate) use act::act;
pub(crate) use confirm::confirm;
pub(crate) use dead::dead;
pub(crate) use events::events;
pub(crate) use groups::groups;
pub(crate) use job::job;
pub(crate) use jobs::jobs;
pub(crate) use limits::limits;
pub(crate) use log_in::{log_in, log_out, login, login_form};
pub(crate) use overview::overview;
pub(crate) use plugins::plugins;
pub(crate) use problem::{not_found, problem};
pub(crate) use quarantine::quarantine;
pub(crate) use queue::queue;
pub(crate) use schedule::schedule;
pub(crate) use schedules::schedules;
