//! The ends of attempts, as they are told apart in metrics.

/// What became of a job at the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Completed,
    /// The attempt has failed, and the job runs again.
    Retried,
    Snoozed,
    RateLimited,
    Cancelled,
    Dead,
    /// A stop has cut the attempt short.
    GivenBack,
}
