//! What a shared queue needs of an engine: leases.

use std::future::Future;
use std::time::Duration;

use crate::{Envelope, InDoubt, Log, SharedQueue, Unavailable};

/// A lease: one machine has one job for a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId {
    /// The engine's number of the job.
    pub job: u64,
    /// What tells this lease of the job from its others, in the engine's own words. At most 1,024 bytes.
    pub token: String,
}

/// A job that was taken.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The lease.
    pub id: LeaseId,
    /// How often the job was taken, this time included: 1 is the first time.
    pub delivery: u32,
    /// The job.
    pub envelope: Envelope,
}

/// What became of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The lease lasts for the given time from now on.
    Yours,
    /// The lease has ended: the job waits again, another machine has it, or it has ended.
    Lost,
}

/// What became of a job that was reported as ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The engine has removed the job.
    Ended,
    /// The lease had ended before: another machine may run the job, or it has ended.
    Lost,
}

/// An engine with queues from which several machines take jobs by leases.
///
/// A job is appended by [`Log::append`] to a [`Destination::Shared`](crate::Destination::Shared). It stays in the engine until a machine has ended it.
/// What an engine says is checked by [`conformance::check_leases`](crate::conformance::check_leases).
pub trait Lease: Log {
    /// Takes at most `max` waiting jobs, the oldest ones first, for the time `lease`. `owner` is a name of the machine, for the
    /// engine's operator. Waits a moment if there are none. No job is taken twice while its lease lasts.
    ///
    /// If the answer is lost, the jobs wait again when their leases end.
    fn take(
        &self,
        queue: &SharedQueue,
        owner: &str,
        max: usize,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Leased>, Unavailable>> + Send;

    /// Extends these leases, so that each ends this time after the call. The answer has one entry for each.
    fn extend(
        &self,
        queue: &SharedQueue,
        held: &[LeaseId],
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<Held>, Unavailable>> + Send;

    /// Removes these jobs: they have ended. The answer has one entry for each.
    fn end(&self, queue: &SharedQueue, ended: &[LeaseId]) -> impl Future<Output = Result<Vec<Ended>, InDoubt>> + Send;

    /// Ends these leases without the jobs, which wait again after this delay.
    fn give_back(
        &self,
        queue: &SharedQueue,
        held: &[LeaseId],
        after: Duration,
    ) -> impl Future<Output = Result<(), Unavailable>> + Send;
}
