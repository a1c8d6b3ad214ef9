//! Links of [Millpond](millpond_links) over [NATS JetStream](https://docs.nats.io/nats-concepts/jetstream).
//!
//! [`JetStream`] is a [`Log`](millpond_links::Log): jobs of a queue are forwarded to a mailbox in a stream, and received from it
//! elsewhere. It is also a [`Lease`](millpond_links::Lease): several machines take the jobs of a shared queue. It needs a server of
//! version 2.12 or later, which has atomic batches.
//!
//! All mailboxes are in one stream, which is made if it is not there. Its retention is `limits`: messages are not removed when they
//! are read. Give the stream a limit of age or bytes with NATS's own tools; a job that the stream drops before it was received is
//! lost. A stream that is full must refuse new messages (`discard: new`): then the senders wait.
//!
//! Shared queues are in a second stream, whose name has `-SHARED` behind it. Its retention is `workqueue`: a job is removed when it has
//! ended. The length of the leases is a setting of the queue's consumer, so all machines give the same.
//!
//! Set `sync_interval: always` in the server's configuration, or run three servers with replicated streams: by default the server
//! acknowledges a message up to two minutes before it is safe on its disk. What a server loses that way is sent again by senders that
//! sent it in the last three minutes.
//!
//! # Figures
//!
//! 2026-12-01, a release build, a NATS server 2.15.1 with `sync_interval: always` on the same machine of 2 cores, jobs of 200 bytes, every commit
//! of a file durable; one run, nothing else running:
//!
//! | what | jobs/s | bare, in the same run | ratio |
//! |---|---|---|---|
//! | append 500 to a mailbox | 39,800 | 4,200: publish, 500 on their way, each acknowledged | 9.5, since a batch is synced once |
//! | read 500 of a mailbox | 60,600 | 102,400: fetch 500 | 0.59 |
//! | take and end 100 of a shared queue | 3,700 | 3,500: fetch 100, and an acknowledgement that is confirmed | 1.05 |
//! | a mailbox, from file to file | 14,400 | | |
//! | a shared queue: sent, taken, run and ended | 3,700 | | |
//!
//! One job alone takes 11 ms from its enqueue until it is stored in the other file (99th percentile: 14 ms), of which 5 ms are the
//! [linger](millpond_links::Forward::linger) of its batch, and 12 ms (16 ms) until it has completed on the machine that has taken it.
//! `cargo test --release -p millpond-nats --test server -- --ignored --nocapture speed::` prints these figures.
//!
//! # Example
//!
//! ```no_run
//! # async fn example(pond: millpond::Millpond) -> Result<(), Box<dyn std::error::Error>> {
//! use millpond_links::{Forward, Mailbox};
//! use millpond_nats::JetStream;
//!
//! let hub = JetStream::connect("nats://hub:4222").stream("MP").start().await?;
//! let link = Forward::new(&pond, "readings", &hub, Mailbox::named("hub")?).start().await?;
//! # Ok(())
//! # }
//! ```

mod atomic;
mod connect;
mod error;
mod fleet;
mod jetstream;
mod leases;
mod reader;
mod stream;

pub use connect::Connect;
pub use error::Error;
pub use jetstream::JetStream;

/// The client that is used, for its [`ConnectOptions`](async_nats::ConnectOptions).
pub use async_nats;
