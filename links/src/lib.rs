//! Moves jobs of [Millpond](millpond) between machines, over an engine that is there already.
//!
//! Each machine keeps its own file, and the file runs the jobs. An engine such as NATS JetStream carries jobs from one file to
//! another. The application's handlers do not change: a queue is *forwarded* on one machine and *received* on another one.
//!
//! # Mailboxes
//!
//! A [`Forward`] takes the jobs of a queue, in the order in which a worker would start them, and appends them to a [`Mailbox`] in
//! a [`Log`]. A [`Receive`] reads the mailbox and enqueues the jobs into a queue of its own file.
//!
//! | what happens | what is promised |
//! |---|---|
//! | a machine, the engine or the network stops at any moment and comes back | each job arrives exactly once |
//! | jobs of a group | they arrive in the order in which they were enqueued |
//! | the engine loses what it has acknowledged (a store that is older than the file) | what was sent in the last three minutes is sent again, and arrives exactly once; earlier jobs that were not received are lost, and a warning says so |
//! | the sender's file is an older copy | jobs that the copy still has are sent, also those that the original has sent since, which arrive twice, and a warning says so. A [backup](millpond::Millpond::backup) and its original are two senders from the opening of the backup on |
//! | the receiver's file is an older copy | jobs since the copy arrive again if the log still has them |
//! | a machine is lost for good | its jobs are where its file is: they are not run elsewhere |
//!
//! # Shared queues
//!
//! A queue can also be forwarded to a [`SharedQueue`] ([`Forward::to_shared`]). The engine keeps each of its jobs until its end is durable
//! in the file of some machine. Machines [`Take`] jobs by leases, which they extend while a job waits or runs.
//!
//! | what happens | what is promised |
//! |---|---|
//! | a machine, the engine or the network stops at any moment | no job is missing: each runs at least once |
//! | a machine does not come back | its jobs run on others when its leases have ended; those that it had completed and not reported run twice |
//! | a machine is cut off for longer than a lease | jobs that run there can run twice; those that have not started are cancelled there |
//! | jobs of a group | they are refused: no order can be kept among machines that take over from one another |
//!
//! # Nodes
//!
//! [`Node::announce`] lets a file answer to a [`Fleet`], and a [`Watch`] asks all nodes for their counts and links.
//!
//! # Engines
//!
//! Engines are in crates of their own, such as `millpond-nats`. An engine is a [`Log`], and a [`Lease`] if it has shared queues.
//! [`MemoryLog`] is an engine in memory for tests, which can fail in all ways in which an engine fails, and [`conformance`] checks an
//! engine.
//!
//! # Example
//!
//! ```
//! # use millpond::{Job, Kind, Millpond};
//! # use millpond_links::{Forward, Mailbox, MemoryLog, Receive};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Reading { celsius: f64 }
//! # impl Kind for Reading { const KIND: &'static str = "reading"; }
//! # #[tokio::main]
//! # async fn main() -> Result<(), millpond::BoxError> {
//! # let directory = tempfile::tempdir()?;
//! # let log = MemoryLog::new();
//! // On the device: what is enqueued into `readings` goes to the hub.
//! let device = Millpond::open(directory.path().join("device.redb"))?;
//! let to_hub = Forward::new(&device, "readings", &log, Mailbox::named("hub")?).start().await?;
//! device.enqueue("readings", Reading { celsius: 21.5 }).await?;
//!
//! // On the hub: it arrives in a queue, and a worker handles it as ever.
//! let hub = Millpond::open(directory.path().join("hub.redb"))?;
//! let (seen, mut handled) = tokio::sync::mpsc::unbounded_channel();
//! hub.worker("readings")
//!     .handle(move |reading: Job<Reading>| {
//!         let _ = seen.send(reading.celsius);
//!         async { Ok(()) }
//!     })
//!     .start()?;
//! let from_devices = Receive::new(&hub, "readings", &log, Mailbox::named("hub")?).start()?;
//! assert_eq!(handled.recv().await, Some(21.5));
//! # to_hub.stop().await;
//! # from_devices.stop().await;
//! # Ok(())
//! # }
//! ```

mod arrived;
mod bandwidth;
pub mod conformance;
mod destination;
mod envelope;
mod error;
mod fleet;
mod forward;
mod forwarder;
mod held;
mod lease;
mod link;
mod log;
mod mailbox;
mod memory;
mod memory_leases;
mod origin;
mod receive;
mod rows;
mod take;
mod taker;

pub use destination::{Destination, SharedQueue};
pub use envelope::Envelope;
pub use error::Error;
pub use fleet::{
    ANSWER_BYTES_MAX, ANSWERS_MAX, Answers, Fleet, MemoryFleet, Node, NodeInfo, NodeLink, NodeQueue, NodeStatus, Watch,
};
pub use forward::Forward;
pub use lease::{Ended, Held, Lease, LeaseId, Leased};
pub use link::Link;
pub use log::{Append, Batch, Cursor, InDoubt, Limits, Log, Read, Unavailable};
pub use mailbox::Mailbox;
pub use memory::{Fault, MemoryLog, Snapshot};
pub use origin::Origin;
pub use receive::Receive;
pub use take::Take;

/// What is known of a link, as [`Link::state`] returns it.
pub use millpond::LinkState;
