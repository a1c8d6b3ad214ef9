//! Where a forwarded queue goes: a mailbox, or a queue that several machines share.

use std::fmt;

use crate::error::Error;
use crate::{Envelope, Mailbox};

/// A queue in an engine, from which several machines take jobs by leases. See [`Take`](crate::Take).
///
/// It has no groups, since no order can be kept among machines that take over from one another: a job with a group is refused by
/// the sender. Use a [`Mailbox`] for those.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedQueue {
    name: String,
}

impl SharedQueue {
    /// The shared queue of this name: 1 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn named(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        match is_valid_name(&name) {
            true => Ok(Self { name }),
            false => Err(Error::InvalidName { name }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whether a mailbox or a shared queue can have this name.
pub(crate) fn is_valid_name(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(is_valid)
}

/// Where a forwarded queue goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To a mailbox: one file takes the jobs of a partition.
    Mailbox(Mailbox),
    /// To a shared queue: machines take jobs by leases.
    Shared(SharedQueue),
}

impl Destination {
    /// The name of the mailbox or of the shared queue. A mailbox and a shared queue of the same name are two destinations.
    pub fn name(&self) -> &str {
        match self {
            Self::Mailbox(mailbox) => mailbox.name(),
            Self::Shared(queue) => queue.name(),
        }
    }

    /// The partition of a job: 0 in a shared queue.
    pub(crate) fn partition_of(&self, key: &[u8]) -> u16 {
        match self {
            Self::Mailbox(mailbox) => mailbox.partition_of(key),
            Self::Shared(_) => 0,
        }
    }

    /// Whether the engine can carry this job there.
    pub(crate) fn takes(&self, job: &millpond::JobInfo, envelope: &Envelope, bytes_max: usize) -> Result<(), String> {
        let bytes = envelope.bytes();
        if bytes > bytes_max {
            return Err(format!("{bytes} bytes with its headers: the engine takes {bytes_max}"));
        }
        match (self, &job.group) {
            (Self::Shared(queue), Some(group)) => Err(format!(
                "it has the group {group:?}, and the shared queue {:?} keeps no order of groups: forward it to a mailbox",
                queue.name()
            )),
            _ => Ok(()),
        }
    }
}

impl From<Mailbox> for Destination {
    fn from(mailbox: Mailbox) -> Self {
        Self::Mailbox(mailbox)
    }
}

impl From<SharedQueue> for Destination {
    fn from(queue: SharedQueue) -> Self {
        Self::Shared(queue)
    }
}

/// With the kind of the destination, as in `mailbox hub`.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => write!(f, "mailbox {}", mailbox.name()),
            Self::Shared(queue) => write!(f, "shared queue {}", queue.name()),
        }
    }
}
