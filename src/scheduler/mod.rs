//! Decides which job may start now.
//!
//! In memory and deterministic. It is told what commits have changed ([`apply`]), what becomes of runs ([`runs`]) and what
//! the time is, and is asked for the next starts ([`choose`]) and why a job does not start ([`explain`]).
//!
//! From the inside out: [`window`], [`aged`] and [`parked`] hold ready jobs, [`feed`] the entries of a stream that a consumer has, [`queue_state`] is one queue, [`queue_states`] are all
//! of them. [`buckets`] are the rates, [`circuits`] the circuit breakers, [`threads`] and [`handed_out`] the slots, [`shared_limits`] the limits that jobs share
//! ([`limited`] holds the jobs that wait for one), [`probation`] the time after a crash.
//! [`state`] puts them together; the other files say what it is told and asked.
//!
//! Refuses to do I/O, to read a clock, and to know tokio or redb. It decides *which* job starts; when it is asked, and what
//! happens with the answer, is up to the dispatcher.

mod aged;
mod apply;
mod breakers;
mod buckets;
mod choose;
mod circuits;
mod explain;
mod feed;
mod handed_out;
mod limited;
mod limits;
mod parked;
mod probation;
mod queue_state;
mod queue_states;
mod rates;
mod runs;
mod shared_limits;
mod start;
mod state;
mod threads;
mod waiting_queues;
mod window;
mod withdraw;

pub(crate) use buckets::Reservation;
pub(crate) use explain::Blocked;
pub(crate) use feed::{FedPage, FeedRefill};
pub(crate) use handed_out::RunId;
pub(crate) use limits::{WindowLimits, WorkerLimits};
pub(crate) use probation::careful_starts;
pub(crate) use shared_limits::LimitKey;
pub(crate) use start::{Chores, Start, Starts};
pub(crate) use state::Scheduler;

#[cfg(test)]
mod after_a_crash;
#[cfg(test)]
mod ageing;
#[cfg(test)]
mod every_job_starts;
#[cfg(test)]
mod old_pages;
#[cfg(test)]
mod shared_by_queues;
#[cfg(test)]
mod test_rows;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod two_limits;
