//! Topics: publish messages to them. They are published in the transaction that completes this job, and not at all if it does not complete.
//! New in version 0.1.3 of the contract. The operator grants the kinds and the topics.
//!
//! ```
//! use millpond_guest::enqueue::NewJob;
//! use millpond_guest::testing::Host;
//! use millpond_guest::{Result, topics};
//!
//! fn ship(order: u64) -> Result {
//!     topics::publish("orders", "order.shipped", NewJob::new("shipped", &order)?)?;
//!     Ok(())
//! }
//!
//! let mut host = Host::new();
//! assert!(host.run(ship, &7).is_done());
//! let [(key, shipped)] = host.published("orders")[..] else { panic!() };
//! assert_eq!((key, shipped.json()), ("order.shipped", Some(7)));
//! ```

use std::fmt;

use crate::enqueue::NewJob;
use crate::host;

/// Why a message was refused. The attempt can continue without it.
///
/// What is bound to a topic can change until the job is complete. If the topic is gone by then, or nothing that is bound to a mandatory topic
/// matches any more, or a bound queue is full, the attempt fails.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The operator has not granted messages of this kind to this topic, or one of them is no [name](crate::enqueue#names).
    AccessDenied,
    /// There is no topic of this name.
    NoSuchTopic,
    /// Nothing that is bound to the topic matches, it has no alternate queue, and its messages are mandatory.
    Unroutable,
    /// The payload is longer than that of any job may be. One that is longer than all that the attempt may publish is answered
    /// [`QuotaExceeded`](Self::QuotaExceeded).
    PayloadTooLarge,
    /// The attempt has enqueued, appended and published as much as it may, or what plugins make of each other's jobs and entries has come
    /// to its limit. A message counts once, whatever it becomes.
    QuotaExceeded,
    /// Anything else, said in words: an invalid routing key, or what is refused of a [job](crate::enqueue::Error::Other).
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("this handler may not publish such a message to this topic"),
            Self::NoSuchTopic => f.write_str("there is no topic of this name"),
            Self::Unroutable => f.write_str("nothing that is bound to the topic matches the message"),
            Self::PayloadTooLarge => f.write_str("the message's payload is longer than the host allows"),
            Self::QuotaExceeded => f.write_str("the attempt has published as much as it may"),
            Self::Other(what) => write!(f, "the message was refused: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Stages a message to the topic of this name. When this job is complete, it becomes a job in each queue and an entry in each stream that is
/// bound to the topic by its routing key and its headers.
///
/// A message has the options that a [job](NewJob) has, which hold in each of the queues, but no queue. An entry has only the group, as its
/// key, the tags and the headers. The routing key is a text of at most 255 bytes and 64 words between dots, such as `order.shipped.eu`.
///
/// # Errors
/// The host's refusal.
pub fn publish(topic: &str, routing_key: &str, message: NewJob) -> Result<(), Error> {
    host::publish(topic, routing_key, message)
}
