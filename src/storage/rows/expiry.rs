//! When the next job expires, as a batch says it.

use crate::time::{Due, TimeLine, Timestamp};

/// When the next job expires, at the earliest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextExpiry {
    pub(in crate::storage) wall: Option<Timestamp>,
    pub(in crate::storage) age: Option<Timestamp>,
}

impl NextExpiry {
    /// Something can have expired: this was not checked yet.
    pub const UNKNOWN: Self = Self { wall: Some(Timestamp::EPOCH), age: Some(Timestamp::EPOCH) };

    pub fn add(&mut self, due: Due) {
        let slot = if due.line == TimeLine::Wall { &mut self.wall } else { &mut self.age };
        *slot = Some(slot.map_or(due.at, |at| at.min(due.at)));
    }

    pub fn and(mut self, other: Self) -> Self {
        other.dues().for_each(|due| self.add(due));
        self
    }

    pub fn dues(self) -> impl Iterator<Item = Due> {
        let wall = self.wall.map(Due::wall);
        let age = self.age.map(|at| Due { line: TimeLine::Age, at });
        wall.into_iter().chain(age)
    }
}

/// What a batch says of the next expiry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NotedExpiries {
    /// The next expiry of the jobs that it has stored or put back; of all jobs, if `of_all`.
    pub next: NextExpiry,
    /// It has checked which expiries have passed.
    pub of_all: bool,
}

impl NotedExpiries {
    /// What this batch and the one after it say together.
    pub fn and_then(self, later: Self) -> Self {
        match later.of_all {
            true => later,
            false => Self { next: self.next.and(later.next), of_all: self.of_all },
        }
    }
}
