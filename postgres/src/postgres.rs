//! PostgreSQL as an engine: its connections, and what is common to mailboxes and shared queues.

use std::sync::Arc;
use std::time::Duration;

use millpond_links::{Destination, Envelope, Unavailable};
use tokio_postgres::Config;

use crate::connect::{Connect, Settings};
use crate::error::Error;
use crate::keep::Kept;
use crate::session::{Session, Slot};
use crate::statements::Kind;
use crate::tls::Connector;
use crate::waits::{Sent, Waits, hint};
use crate::{connect, schema};

/// The most bytes of jobs that are read or taken at once, unless one job alone has more.
pub(crate) const PAGE_BYTES: i64 = 8 << 20;

/// What a connection is for. Each purpose has one of its own, so that none waits for the locks of another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Append,
    Read,
    Lease,
}

/// Mailboxes and shared queues in tables of a PostgreSQL server. Clones use the same connections, which are made with the first call
/// and anew when they are lost: at most three, of which a machine that only sends or only receives uses one.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    config: Config,
    connector: Arc<dyn Connector>,
    schema: String,
    pub settings: Settings,
    slots: [Slot; 3],
    pub waits: Arc<Waits>,
    sent: Sent,
    pub kept: Kept,
}

impl Postgres {
    /// Connects to a server: `postgres://user:password@host:5432/database`, or `host=.. user=.. dbname=..`. Several hosts with commas
    /// between them are a server and its standbys: the one that takes writes is used.
    pub fn connect(address: &str) -> Connect {
        Connect::to(address)
    }

    pub(crate) fn new(config: Config, connector: Arc<dyn Connector>, schema: String, settings: Settings) -> Self {
        let (slots, waits, sent, kept) = Default::default();
        Self { inner: Arc::new(Inner { config, connector, schema, settings, slots, waits, sent, kept }) }
    }

    /// The SQL that makes the schema of this name, for an administrator, with the rights for this role. The engine itself needs the
    /// right to make a schema only if it was not made before.
    ///
    /// # Errors
    /// [`Error::InvalidName`].
    pub fn schema_sql(schema: &str, role: Option<&str>) -> Result<String, Error> {
        match connect::is_valid_schema(schema) {
            true => Ok(schema::text(schema, role)),
            false => Err(Error::InvalidName { name: schema.to_owned() }),
        }
    }

    /// Connects, checks the server, the schema, which is made if it is not there, and the rights. A link does the same with its first
    /// call, and tries again if the server cannot be used. Only this call notices a pooler that does not keep sessions.
    ///
    /// # Errors
    /// [`Error::ServerTooOld`], [`Error::Misconfigured`], [`Error::ReadOnly`], [`Error::NoSchema`], [`Error::MissingRight`],
    /// [`Error::NewerSchema`], [`Error::Pooler`], [`Error::Refused`], [`Error::Unavailable`].
    pub async fn check(&self) -> Result<(), Error> {
        let first = self.inner.session(Purpose::Read).await?;
        let second = self.inner.open(false, None).await?;
        // Two connections that are open at the same time have two processes, unless something stands between.
        match first.process == second.process {
            true => Err(Error::Pooler),
            false => Ok(()),
        }
    }
}

impl Inner {
    pub async fn session(&self, purpose: Purpose) -> Result<Arc<Session>, Error> {
        let listens = purpose != Purpose::Append && self.settings.hints.is_some();
        self.slots[purpose as usize].session(|before| self.open(listens, before)).await
    }

    async fn open(&self, listens: bool, before: Option<crate::session::Process>) -> Result<Session, Error> {
        Session::open(&self.config, &*self.connector, &self.schema, &self.waits, listens, before).await
    }

    /// Tells machines that wait that there are jobs, unless one was told a moment ago.
    pub fn tell(self: &Arc<Self>, about: &Destination, purpose: Purpose) {
        let Some(apart) = self.settings.hints else { return };
        let about = hint(about);
        let Some(pause) = self.sent.next(&about, tokio::time::Instant::now(), apart) else { return };
        let inner = self.clone();
        tokio::spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            inner.sent.goes(&about);
            // Who waits finds the jobs without it too.
            if let Ok(session) = inner.session(purpose).await {
                let _ = session.hint(&about).await;
            }
        });
    }

    /// Waits for a hint about a destination that comes after `wait` was made, at most until it is time to look.
    pub async fn look_again(&self, hinted: impl Future<Output = ()>, until: tokio::time::Instant) {
        let poll = tokio::time::Instant::now() + self.settings.poll;
        let _ = tokio::time::timeout_at(poll.min(until), hinted).await;
    }
}

/// The kind and the name of a destination, as its row has them.
pub(crate) fn key(of: &Destination) -> (Kind, &str) {
    match of {
        Destination::Mailbox(mailbox) => (Kind::Mailbox, mailbox.name()),
        Destination::Shared(queue) => (Kind::Shared, queue.name()),
    }
}

pub(crate) fn unavailable(error: Error) -> Unavailable {
    Unavailable(error.to_string())
}

/// As many as fit: the engine's numbers are signed.
pub(crate) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn seconds(time: Duration) -> f64 {
    // PostgreSQL has years up to 294276.
    time.as_secs_f64().min(1e12)
}

/// Payloads, headers and partitions of a batch, each as one array.
pub(crate) struct Columns<'b> {
    pub partitions: Vec<i16>,
    pub headers: Vec<String>,
    pub payloads: Vec<&'b [u8]>,
}

impl<'b> Columns<'b> {
    pub fn of(envelopes: &'b [Envelope]) -> Self {
        Self {
            // A mailbox has at most 1,024 partitions.
            partitions: envelopes.iter().map(|envelope| envelope.partition as i16).collect(),
            headers: envelopes.iter().map(crate::rows::headers).collect(),
            payloads: envelopes.iter().map(|envelope| &envelope.payload[..]).collect(),
        }
    }
}
