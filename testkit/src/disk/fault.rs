//! What goes wrong with a simulated disk, and when.

use std::io;

/// An operation that a disk is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read bytes.
    Read,
    /// Write bytes.
    Write,
    /// Change the length of the file.
    SetLen,
    /// Make durable what was written.
    Sync,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::SetLen, Self::Sync];
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no space left.
    NoSpace,
    /// The device reports an input/output error.
    Io,
    /// The operation panics, as the storage engine does in the middle of a damaged file.
    Panic,
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::NoSpace => io::ErrorKind::StorageFull.into(),
            Self::Io => io::Error::other("input/output error"),
            Self::Panic => panic!("a damaged page"),
        }
    }
}

/// A fault: which operations fail, how, from when on, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operations that fail.
    pub ops: &'static [Op],
    /// How they fail.
    pub failure: Failure,
    /// How many of these operations succeed first.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
}

impl Fault {
    /// Every operation fails, for good.
    pub const DEAD: Self = Self::lasting(&Op::ALL, Failure::Io);
    /// There is no space left. A full disk can still be read and synced.
    pub const FULL: Self = Self::lasting(&[Op::Write, Op::SetLen], Failure::NoSpace);
    /// A sync reports an error. What was written before it can be read all the same.
    pub const SYNC: Self = Self::lasting(&[Op::Sync], Failure::Io);
    /// Nothing can be read.
    pub const READ: Self = Self::lasting(&[Op::Read], Failure::Io);
    /// A write panics.
    pub const PANIC: Self = Self::lasting(&[Op::Write], Failure::Panic);

    /// These operations fail from now on, until the disk is repaired.
    pub const fn lasting(ops: &'static [Op], failure: Failure) -> Self {
        Self { ops, failure, after: 0, times: u64::MAX }
    }

    /// The error of this operation, if the fault hits it.
    pub(super) fn hit(&mut self, op: Op) -> Option<io::Error> {
        if !self.ops.contains(&op) {
            return None;
        }
        if self.after > 0 {
            self.after -= 1;
            return None;
        }
        if self.times == 0 {
            return None;
        }
        self.times -= 1;
        Some(self.failure.error())
    }
}
