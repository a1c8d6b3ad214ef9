//! The durable verbs, a file each.

pub(crate) mod control;
pub(crate) mod dead_letters;
mod enqueue;
mod expire;
mod finish;
mod mark;
mod transact;
pub(crate) mod upkeep;

pub(crate) use crate::job::Patch;
pub(crate) use enqueue::{Enqueue, check_room, insert_all};
pub(crate) use expire::expire_passed;
pub(crate) use finish::{Finish, HoldBack, More, Retried, take_rows_out};
pub(crate) use mark::MarkStarts;
pub(crate) use transact::{Transact, Transacted};
