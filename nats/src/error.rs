//! Why a server cannot be used.

/// Why a server cannot be used, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be read, or the options of the connection are not valid.
    #[error("cannot connect: {0}")]
    Connect(#[from] async_nats::ConnectError),
    /// The name of the stream is not valid.
    #[error("{name:?} is not a valid name of a stream: it has 1 to 32 of `A-Z`, `a-z`, `0-9`, `_` and `-`")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The server has no atomic batches.
    #[error("the NATS server has version {version}, and 2.12 is the first one with atomic batches: update the server")]
    ServerTooOld {
        /// The server's version.
        version: String,
    },
    /// The server takes only messages that are too small for any job.
    #[error("the NATS server takes messages of {max} bytes, and {least} are needed: raise its `max_payload`")]
    MessagesTooSmall {
        /// The server's limit in bytes.
        max: usize,
        /// What is needed.
        least: usize,
    },
    /// The stream is there and has settings that would lose jobs.
    #[error("the stream {stream:?} has {setting}: {advice}")]
    Misconfigured {
        /// The stream.
        stream: String,
        /// The setting.
        setting: String,
        /// What to do.
        advice: &'static str,
    },
    /// Other machines take from the shared queue with leases of another length.
    #[error(
        "the shared queue {queue:?} has leases of {has:?}, and this machine asks for {wanted:?}: give all machines the same, or remove the consumer {queue:?}"
    )]
    OtherLease {
        /// The shared queue.
        queue: String,
        /// The length of its leases.
        has: std::time::Duration,
        /// What this machine asks for.
        wanted: std::time::Duration,
    },
    /// There is no connection to a server. It is tried again in the background.
    #[error(
        "there is no connection to the NATS server: check its address, and the certificates and credentials of both sides"
    )]
    NotConnected,
    /// The server does not answer, or refuses a call.
    #[error("the NATS server does not answer: {0}")]
    Unavailable(String),
}
