//! Links of [Millpond](millpond_links) over [PostgreSQL](https://www.postgresql.org), versions 15 to 18.
//!
//! [`Postgres`] is a [`Log`](millpond_links::Log): jobs of a queue are forwarded to a mailbox in a table, and received from it elsewhere. It
//! is also a [`Lease`](millpond_links::Lease): several machines take the jobs of a shared queue. It needs no extension, and makes its tables
//! itself.
//!
//! ```no_run
//! # async fn example(pond: millpond::Millpond) -> Result<(), Box<dyn std::error::Error>> {
//! use millpond_links::{Forward, Mailbox};
//! use millpond_postgres::Postgres;
//!
//! let hub = Postgres::connect("postgres://millpond@hub/jobs").start()?;
//! hub.check().await?;
//! let link = Forward::new(&pond, "readings", &hub, Mailbox::named("hub")?).start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Mailboxes
//!
//! | what happens | what is promised |
//! |---|---|
//! | a process, the server or the network stops at any moment and comes back | each job arrives exactly once, those of a group in their order |
//! | a transaction of a sender commits later than others that began behind it | no receiver passes it: who appends to a mailbox holds the lock of its row until the commit |
//! | an older copy of the database is restored, or a standby takes over that had not got everything | senders notice it and say so: what was sent in the last three minutes is sent again and arrives exactly once. A receiver that was ahead misses nothing of that |
//! | the same, and the server's clock has gone back too | a receiver that was ahead can miss jobs, unless it reads the mailbox before it has grown to the receiver's position again |
//! | the sender's file is an older copy | jobs that the copy still has are sent again and arrive twice, and a warning says so |
//! | the receiver's file is an older copy | jobs since the copy arrive again, if they are [kept](Connect::keep_read): for a week if nothing else is said |
//! | the server refuses calls: a full disk, a right that is missing, a limit of time | jobs wait in the queues of the senders, and [`LinkState`](millpond_links::LinkState) says why |
//! | a job is larger than [`envelope_bytes`](Connect::envelope_bytes): 16 MiB | it is a dead letter of the sender |
//! | a row is no job | it becomes a job of kind `unreadable` of the receiver |
//!
//! A receiver tells the engine every 30 seconds how far it has stored a mailbox in its file. What all receivers of a partition have stored, and
//! what is older than [`keep_read`](Connect::keep_read), is removed by receivers. What nobody has read is never removed, so a mailbox whose
//! receiver is gone grows: see [`Postgres::readers`], [`Postgres::forget_reader`] and [`Postgres::trim`].
//!
//! # Shared queues
//!
//! | what happens | what is promised |
//! |---|---|
//! | a machine, the server or the network stops at any moment | no job is missing: each runs at least once |
//! | several machines take at the same time | each job is taken by one of them |
//! | a lease ends, and another machine takes the job | the machine that had it can neither extend nor end nor give back the job any more |
//! | a lease ends, and nobody has taken the job yet | the machine that had it can still extend or end it |
//! | an older copy of the database is restored | leases of before are not taken for those of after; jobs that had ended can run again |
//! | the server's clock jumps | leases end too early or too late by as much; jobs can run twice |
//!
//! Leases are measured by the clock of the server, so the clocks of machines do not matter.
//!
//! # What the server must be
//!
//! [`Postgres::check`] refuses by name: a version before 15; `fsync = off`; a standby, or `default_transaction_read_only`; a database
//! whose encoding is not UTF8; a schema that a newer build has made; rights that are missing; a pooler that does not keep sessions.
//! `synchronous_commit = off` is overridden for the sessions of the engine. It was tested
//! with 15, 16, 17 and 18, and 14 is refused; later versions are taken.
//!
//! A server without a synchronous standby loses its latest commits when a standby takes over: set `synchronous_standby_names`.
//!
//! An engine uses up to three connections: one to append, one to read, one for leases. A machine that only forwards or only receives uses
//! one. Each is made anew when it is lost. A call waits ten seconds for its answer. When an append was left without an answer, the server's
//! process is ended before anything else is asked, so that it does not carry out the call later.
//!
//! A machine that waits for jobs looks every 250 ms ([`poll`](Connect::poll)), and at once when it gets a hint (`NOTIFY`). Hints are sent
//! behind an append in a transaction of their own, at most every 5 ms for each mailbox or shared queue, or not at all
//! ([`hints`](Connect::hints)).
//!
//! # Figures
//!
//! Measured in one run (2026-12-01) on two cores that were busy with other work, with PostgreSQL 15 on the same machine, `fsync` on, and jobs of
//! 200 bytes in batches of 500, by
//! `cargo test --release -p millpond-postgres --test server -- --ignored --nocapture speed::`. The bare producer inserts 500 rows at once
//! into a table with the same columns, and the bare consumer selects them, or deletes them with `delete .. returning` and `skip locked`,
//! which loses jobs when it dies. From run to run they differ by half.
//!
//! | what | jobs/s | bare, in the same run |
//! |---|---|---|
//! | append to a mailbox | 55,000 | 51,000 |
//! | read a mailbox | 99,000 | 372,000 |
//! | append to a shared queue | 56,000 | 72,000 |
//! | take and end 100 | 13,000 | 20,000 |
//! | take and end 500 | 19,000 | 64,000 |
//! | from file to file, over a mailbox | 15,000 | |
//!
//! One job alone takes 10 ms from the call that enqueues it to the other file (p99 22 ms). A take of 100 took 14 ms while 10,000 jobs waited,
//! 15 ms while 100,000 did, and 30 ms while 1,000,000 did. Rows of jobs that have ended are passed over until they are vacuumed, which a
//! transaction that stays open prevents: after 100,000 jobs beside one, a take and end of 100 took 113 ms instead of 23 ms.
//!
//! # Rights
//!
//! The role makes the schema if it may. Otherwise an administrator runs the text of [`Postgres::schema_sql`], which also grants what
//! is needed: `USAGE` on the schema, and on its tables `SELECT`, `INSERT`, `UPDATE` and `DELETE` as far as each needs them. After
//! an update of this crate that knows a newer schema, the administrator starts one engine with a role that may change the tables: one that
//! is a member of their owner.
//!
//! # TLS
//!
//! [`Connect::tls`] takes any connector for `tokio-postgres`, so the crate depends on no implementation. With the feature `rustls`,
//! `Connect::rustls` brings one, which verifies servers with the certificates that the system trusts, and 13 more crates.

// The support of the tests names the crate.
#[cfg(test)]
extern crate self as millpond_postgres;

mod check;
mod connect;
mod error;
mod keep;
mod leases;
mod log;
mod postgres;
mod rows;
#[cfg(feature = "rustls")]
mod rustls;
mod schema;
mod session;
mod statements;
mod tls;
mod waits;

pub use connect::Connect;
pub use error::Error;
pub use keep::Reader;
pub use postgres::Postgres;

/// The client that is used, for its [`Config`](tokio_postgres::Config) and for connectors of TLS.
pub use tokio_postgres;

/// rustls, for [`Connect::rustls_with`].
#[cfg(feature = "rustls")]
pub use tokio_rustls::rustls as rustls_crate;
