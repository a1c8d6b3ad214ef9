//! The id of a job, and collections that use it as their key.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A job's identity: a number that grows in commit order, starts at 1 and is never used again.
///
/// Use it as the idempotency key of what a handler does outside the file.
///
/// ```
/// use millpond::JobId;
///
/// let id: JobId = "42".parse()?;
/// assert_eq!(id.get(), 42);
/// assert_eq!(id.to_string(), "42");
/// # Ok::<(), millpond::ParseJobIdError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(u64);

impl JobId {
    /// The id with this number. Whether such a job exists is another question.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({})", self.0)
    }
}

impl FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(ParseJobIdError),
        }
    }
}

/// The text is not a job id: a whole number from 1 on.
///
/// ```
/// use millpond::{JobId, ParseJobIdError};
///
/// assert_eq!("0".parse::<JobId>(), Err(ParseJobIdError));
/// assert_eq!("job 7".parse::<JobId>(), Err(ParseJobIdError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a job id: expected a whole number from 1 on")]
pub struct ParseJobIdError;

/// A map by a number of ours: a job's id, a queue's.
pub(crate) type IdMap<T, K = JobId> = HashMap<K, T, BuildHasherDefault<IdHasher>>;

/// A set of numbers of ours.
pub(crate) type IdSet<K = JobId> = HashSet<K, BuildHasherDefault<IdHasher>>;

/// The numbers are our own counters: a caller cannot choose them to collide, so one multiplication is
/// hash enough.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
