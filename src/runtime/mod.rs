//! Wires the rooms together: opening, the dispatcher's loop, the writer's loop, upkeep, the stop.
//!
//! It owns the clock and the two threads that write and dispatch. The rooms below it are told the time: as `Now`, or by a
//! `TimeReader` that is made here.

mod alarm;
mod attempts;
mod backup;
mod beside;
mod callers;
mod commit;
mod commit_turn;
mod dispatcher;
mod engine;
mod expiry;
mod healing;
mod health;
mod internal;
mod log;
mod maintenance;
mod open;
#[cfg(feature = "wasm")]
mod plugins;
mod prepare;
mod regather;
mod set_aside;
mod shutdown;
mod steps;
mod stopping;
mod unserved;
mod verification;
mod writer_loop;

pub(crate) use backup::back_up;
pub(crate) use beside::beside;
pub use commit::Commit;
pub(crate) use engine::{Config, Engine, WorkerConfig};
pub(crate) use open::{Setup, WINDOW_BYTES_MAX, WINDOW_JOBS_MAX, open};
pub(crate) use shutdown::{shutdown, stop_now, wait_for_the_close};
pub(crate) use steps::Steps;
pub use stopping::Stopping;
pub(crate) use unserved::Handlers;
pub(crate) use verification::verify_beside;
