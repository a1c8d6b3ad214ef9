//! The limits of an attempt whose excess ends it.

use crate::job::FailureKind;

/// A limit that an attempt exceeded, which ends the attempt.
#[derive(Debug, thiserror::Error)]
pub(super) enum Exceeded {
    #[error("it asked for {wanted} bytes of memory, its limit is {limit}")]
    Memory { wanted: usize, limit: usize },
    #[error("it asked for {wanted} elements in its tables, its limit is {limit}")]
    Table { wanted: usize, limit: usize },
    #[error("it made more than {limit} calls to the host")]
    HostCalls { limit: u32 },
    #[error("it returned {len} bytes, its limit is {limit}")]
    Output { len: usize, limit: usize },
    #[error("it passed more than {limit} bytes to the host at once")]
    CallBytes { limit: usize },
}

impl Exceeded {
    /// The class of the failed attempt.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Memory { .. } | Self::Table { .. } => FailureKind::MemoryLimit,
            Self::HostCalls { .. } => FailureKind::CallLimit,
            Self::Output { .. } | Self::CallBytes { .. } => FailureKind::OutputTooLarge,
        }
    }
}
