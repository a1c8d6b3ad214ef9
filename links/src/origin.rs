//! From which file jobs come.

use std::fmt;

/// The file and the queue from which jobs are forwarded.
///
/// A file has an [identity](millpond::Millpond::identity), which it gets with its first link. The incarnation is raised when a backup is
/// opened, and when the file turns out to be an older copy: it then numbers what it sends anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The identity of the file.
    pub file: u128,
    /// The incarnation of the file.
    pub incarnation: u32,
    /// The queue that is forwarded.
    pub queue: String,
}

/// As it is in the headers of jobs and in subjects: identity, incarnation and queue.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}-{}", self.file, self.incarnation, self.queue)
    }
}
