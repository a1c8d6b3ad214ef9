//! Where jobs go: a named mailbox with partitions.

use std::ops::Range;

use crate::destination::is_valid_name;
use crate::error::Error;

/// A place in a [`Log`](crate::Log) to which jobs go, and from which one file takes them.
///
/// A mailbox has partitions. A job is in the partition that its group, else its unique key, else its id says, so the jobs of a
/// group stay in order. Each partition has one receiver: to share the work of a mailbox among several machines, each of them
/// [receives](Self::only) other partitions. All senders and receivers of a mailbox give the same number of partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    name: String,
    partitions: u16,
    read: Range<u16>,
}

impl Mailbox {
    /// The partitions of a mailbox for which nothing else is said.
    pub const PARTITIONS_DEFAULT: u16 = 16;

    /// The most partitions of a mailbox.
    pub const PARTITIONS_MAX: u16 = 1_024;

    /// The mailbox of this name: 1 to 128 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn named(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        if !is_valid_name(&name) {
            return Err(Error::InvalidName { name });
        }
        Ok(Self { name, partitions: Self::PARTITIONS_DEFAULT, read: 0..Self::PARTITIONS_DEFAULT })
    }

    /// How many partitions it has: 1 to [`PARTITIONS_MAX`](Self::PARTITIONS_MAX).
    ///
    /// # Errors
    /// [`Error::InvalidPartitions`].
    pub fn partitions(self, partitions: u16) -> Result<Self, Error> {
        if !(1..=Self::PARTITIONS_MAX).contains(&partitions) {
            return Err(Error::InvalidPartitions);
        }
        Ok(Self { partitions, read: 0..partitions, ..self })
    }

    /// A receiver reads only these of its partitions.
    ///
    /// # Errors
    /// [`Error::InvalidPartitions`] if it has not all of them, or there are none.
    pub fn only(self, read: Range<u16>) -> Result<Self, Error> {
        if read.is_empty() || read.end > self.partitions {
            return Err(Error::InvalidPartitions);
        }
        Ok(Self { read, ..self })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The partitions that a receiver reads.
    pub fn read(&self) -> Range<u16> {
        self.read.clone()
    }

    /// Whether a receiver reads all partitions.
    pub fn reads_all(&self) -> bool {
        self.read == (0..self.partitions)
    }

    /// The partition of a job.
    pub(crate) fn partition_of(&self, key: &[u8]) -> u16 {
        (crc32fast::hash(key) % u32::from(self.partitions)) as u16
    }

    /// Under which name a receiver keeps its position.
    pub(crate) fn position_name(&self) -> String {
        format!("{}/{}-{}of{}", self.name, self.read.start, self.read.end, self.partitions)
    }
}
