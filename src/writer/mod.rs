//! Makes changes durable: it writes all commands that have gathered in one transaction, and one commit answers all of
//! their callers.
//!
//! There is one writer, with one write transaction at a time. It refuses to decide: each command says what it writes, and
//! `job::life` has said what follows an attempt. It refuses to read a clock or to own a thread: the runtime's writer
//! thread calls [`Writer::commit`] with the commands that have gathered.
//!
//! From the outside in: [`messages`] brings the commands, [`commit`] makes one commit of them, [`transaction`] is one try at
//! it, [`batching`] lets each command write, and [`commands`] are what they write. [`state`] is what stays between commits,
//! [`jobs`] the part of it that
//! jobs need, and [`jobs_of_writer`] what the writer does with that part.

mod batching;
mod command;
mod commands;
mod commit;
mod committed;
mod jobs;
mod jobs_of_writer;
mod lease;
mod messages;
mod occupied;
mod state;
mod step;
mod transaction;
mod undone;
mod waiting_room;

pub(crate) use command::Command;
pub(crate) use commands::{
    CountFailure, DeadHook, Enqueue, Finish, HoldBack, MarkStarts, More, NoteId, Publish, PublishAnswer, PutStep,
    PutWhat, Retried, Transact, Transacted, cause_of, expire_passed, log_failed_hook,
};
pub(crate) use commands::{bulk, control, dead_letters, queues, schedules, upkeep};
pub(crate) use committed::Committed;
pub(crate) use lease::{Lease, Leased, Lent, StillLent};
pub(crate) use messages::{Round, Then, Wakeup, WriterReceiver, WriterSender, writer_channel};
pub(crate) use occupied::{Occupant, Occupied};
pub(crate) use state::Writer;
pub(crate) use step::{Answer, Refusal, Step, WaitingHandler, call, call_with};

#[cfg(test)]
mod tests;
