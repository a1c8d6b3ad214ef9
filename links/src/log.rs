//! What a link needs of an engine: a log.

use std::future::Future;

use crate::{Destination, Envelope, Mailbox, Origin};

/// What an engine can take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The most bytes of a job's payload and headers together.
    pub envelope_bytes: usize,
    /// The most jobs that are appended at once.
    pub batch: usize,
}

impl Limits {
    /// Limits of an engine.
    pub fn new(envelope_bytes: usize, batch: usize) -> Self {
        Self { envelope_bytes, batch }
    }
}

/// The latest batch of an origin that the engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The number of the batch. The first one of an origin is 1.
    pub batch: u64,
    /// The ids that its jobs have in the origin's file.
    pub ids: Vec<u64>,
    /// The checksum of its jobs.
    pub hash: u32,
    /// The engine's own number of it, for [`Log::append`].
    pub revision: u64,
}

/// Jobs that are appended together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'b> {
    /// Its number.
    pub number: u64,
    /// The ids that its jobs have in the origin's file.
    pub ids: &'b [u64],
    /// The checksum of its jobs.
    pub hash: u32,
    /// The jobs, at least one.
    pub envelopes: &'b [Envelope],
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    /// The jobs and the cursor are stored. The cursor has this revision.
    Stored(u64),
    /// Nothing is stored: the origin's cursor has another revision than was expected.
    Stale,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Each with its position, in order.
    pub envelopes: Vec<(u64, Envelope)>,
    /// The position of the last entry that the log has, whatever mailbox it is in. If this is less than a position that was read
    /// before, the log has lost something.
    pub end: u64,
    /// How many jobs of these partitions are behind those that were read. `None` if the engine does not say it.
    pub behind: Option<u64>,
}

/// The engine does not answer, or refuses the call. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the engine is not available: {0}")]
pub struct Unavailable(pub String);

/// The engine has not answered: nobody knows whether the call was carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no answer from the engine: {0}")]
pub struct InDoubt(pub String);

/// An engine with a log that survives its machine's failures.
///
/// What it says is checked by [`conformance`](crate::conformance). Clones are the same log.
pub trait Log: Clone + Send + Sync + 'static {
    /// The name of the engine for people, such as `NATS JetStream`.
    fn name(&self) -> String {
        "log".to_owned()
    }

    /// What the engine can take, as it is known since the connection was made.
    fn limits(&self) -> Limits;

    /// The latest batch of this origin in the mailbox or shared queue. `None` if there is none. The answer is never older than an append that was
    /// acknowledged before the call.
    fn cursor(&self, to: &Destination, of: &Origin)
    -> impl Future<Output = Result<Option<Cursor>, Unavailable>> + Send;

    /// Appends all jobs of a batch and sets the origin's cursor, all or nothing, if the cursor has this revision (0: there is none).
    /// Only an engine that is a [`Lease`](crate::Lease) is given shared queues.
    fn append(
        &self,
        to: &Destination,
        of: &Origin,
        expected: u64,
        batch: Batch<'_>,
    ) -> impl Future<Output = Result<Append, InDoubt>> + Send;

    /// The jobs of the mailbox's partitions behind this position (0: from the first on), at most so many, in the order in which they
    /// were appended. Waits a moment if there are none.
    fn read(&self, mailbox: &Mailbox, after: u64, max: usize)
    -> impl Future<Output = Result<Read, Unavailable>> + Send;
}
