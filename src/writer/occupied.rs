//! Records what keeps the writer from continuing, so that a caller that waits for the writer can be told the reason.

use std::sync::Arc;

use crate::sync::atomic::{AtomicU64, Ordering};

/// What keeps the writer from continuing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Occupant {
    /// Nothing: it waits for messages, or does its own work.
    Nobody = 0,
    /// A guard from `begin_write`.
    Guard = 1,
    /// A transaction's closure, or what a handler writes with its completion.
    Closure = 2,
    /// A hook, a waker, or the drop of a value of the application.
    Callback = 3,
    /// The write transaction of an attached database, which its application holds.
    Transaction = 4,
}

impl Occupant {
    fn of(number: u8) -> Self {
        let all = [Self::Guard, Self::Closure, Self::Callback, Self::Transaction];
        all.into_iter().find(|occupant| *occupant as u8 == number).unwrap_or(Self::Nobody)
    }

    /// The reason, as a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Nobody => "the last commit is not on the disk yet",
            Self::Guard => "a guard from `begin_write` holds the write transaction",
            Self::Closure => "a transaction's closure, or what a handler writes with its completion, is still running",
            Self::Callback => "a callback of the application is still running on the queue's thread",
            Self::Transaction => "the application holds the write transaction of the database that it has attached",
        }
    }
}

/// Shows callers that wait for the writer what keeps it from continuing. Clones share one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occupied(Arc<AtomicU64>);

/// What keeps the writer from continuing at one moment, and how often that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    /// The lowest bits are the occupant, the others are how often it has changed.
    const OCCUPANT_BITS: u32 = 8;

    fn next(self, occupant: u8) -> Self {
        let changes = (self.0 >> Self::OCCUPANT_BITS).wrapping_add(1);
        Self(changes << Self::OCCUPANT_BITS | u64::from(occupant))
    }

    fn number(self) -> u8 {
        (self.0 & ((1 << Self::OCCUPANT_BITS) - 1)) as u8
    }

    pub fn by(self) -> Occupant {
        Occupant::of(self.number())
    }
}

impl Occupied {
    pub fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    /// Marks the writer as occupied until the returned [`Occupation`] is dropped. Only the thread that writes may call this.
    pub fn begin(&self, by: Occupant) -> Occupation {
        let before = self.now();
        self.0.store(before.next(by as u8).0, Ordering::SeqCst);
        Occupation { occupied: self.clone(), before: before.number() }
    }
}

/// The writer is occupied until this is dropped.
pub(crate) struct Occupation {
    occupied: Occupied,
    before: u8,
}

impl Drop for Occupation {
    fn drop(&mut self) {
        let over = self.occupied.now().next(self.before);
        self.occupied.0.store(over.0, Ordering::SeqCst);
    }
}
