//! Wires the rooms together: opening, the dispatcher's loop, the writer's loop, upkeep, the stop.
//!
//! It owns the clock and the two threads that write and dispatch. The rooms below it get the time as an argument: as `Now`, or
//! as a `TimeReader` that is made here.

mod alarm;
mod attempts;
mod backup;
mod batches;
mod beside;
mod callers;
mod calls;
mod cancelling;
mod cancels;
mod circuits;
mod commit;
mod commit_turn;
mod compaction;
mod damage;
mod degradation;
mod depth;
mod dispatcher;
mod engine;
mod entry_ids;
mod expiries;
mod expiry;
mod facts;
mod finished;
mod firing;
mod flow_times;
mod flows;
mod healing;
mod internal;
mod job_steps;
mod limits;
mod links;
mod log;
mod maintenance;
mod open;
#[cfg(feature = "wasm")]
mod plugins;
mod prepare;
mod publishing;
mod queries;
mod regather;
mod schedule_times;
mod shutdown;
mod steps;
mod stopping;
mod stream_infos;
mod streams;
mod test_hooks;
mod unserved;
mod verification;
mod waits;
mod withdrawals;
mod workers;
mod writer_loop;

pub(crate) use backup::back_up;
pub(crate) use beside::beside;
pub use commit::Commit;
pub(crate) use compaction::compact;
pub(crate) use depth::Depth;
pub(crate) use engine::{Config, Engine, WINDOW_BYTES_MAX, WINDOW_JOBS_MAX};
pub(crate) use facts::Slots;
pub(crate) use flows::FlowsOf;
pub(crate) use job_steps::StepsOf;
pub(crate) use open::{Setup, open};
#[cfg(feature = "wasm")]
pub(crate) use plugins::ServedPlugin;
pub(crate) use shutdown::{shutdown, stop_now, wait_for_the_close};
pub(crate) use steps::Steps;
pub use stopping::Stopping;
pub(crate) use unserved::Handlers;
pub(crate) use verification::verify_beside;
pub(crate) use workers::WorkerConfig;
