//! The commands that change jobs and queues, one file each.

pub(crate) mod bulk;
pub(crate) mod control;
pub(crate) mod dead_letters;
mod enqueue;
mod expire;
mod finish;
mod job_steps;
mod keep_events;
mod mark;
mod on_dead;
mod publish;
pub(crate) mod queues;
pub(crate) mod schedules;
mod transact;
pub(crate) mod upkeep;

pub(crate) use enqueue::{Enqueue, NoteId};
pub(crate) use expire::expire_passed;
pub(crate) use finish::{CountFailure, Finish, HoldBack, More, Retried, take_rows_out};
pub(crate) use job_steps::{PutStep, PutWhat};
pub(crate) use mark::MarkStarts;
pub(crate) use on_dead::{DeadHook, cause_of, log_failed_hook};
pub(crate) use publish::{Publish, PublishAnswer};
pub(crate) use transact::{Transact, Transacted};
