//! What an engine is told before it connects.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Config, NoTls, Socket};

use crate::error::Error;
use crate::postgres::Postgres;
use crate::tls::Connector;

/// How long an attempt to connect to one host may take, if the address does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is to be made.
#[must_use = "nothing is connected before it is started"]
pub struct Connect {
    address: Result<Config, tokio_postgres::Error>,
    connector: Option<Result<Arc<dyn Connector>, Error>>,
    schema: String,
    settings: Settings,
}

/// What can be set of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub envelope_bytes: usize,
    pub batch: usize,
    pub poll: Duration,
    pub hints: Option<Duration>,
    pub keep_read: Option<Duration>,
}

impl Connect {
    /// The most bytes of a job with its headers, if nothing else is said.
    pub const ENVELOPE_BYTES_DEFAULT: usize = 16 << 20;

    /// The most bytes of a job that can be set. PostgreSQL's own limit of a message is 1 GiB, and a server needs several times as much
    /// memory as a message has.
    pub const ENVELOPE_BYTES_MAX: usize = 128 << 20;

    /// The most jobs of a batch, if nothing else is said.
    pub const BATCH_DEFAULT: usize = 1_000;

    /// The most jobs of a batch that can be set.
    pub const BATCH_MAX: usize = 10_000;

    /// How often a mailbox or a shared queue without jobs is looked at, if nothing else is said.
    pub const POLL_DEFAULT: Duration = Duration::from_millis(250);

    /// The shortest time between two hints about the same mailbox or shared queue, if nothing else is said.
    pub const HINTS_DEFAULT: Duration = Duration::from_millis(5);

    /// How long jobs of a mailbox that were read are kept, if nothing else is said: a week.
    pub const KEEP_READ_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3_600);

    pub(crate) fn to(address: &str) -> Self {
        let settings = Settings {
            envelope_bytes: Self::ENVELOPE_BYTES_DEFAULT,
            batch: Self::BATCH_DEFAULT,
            poll: Self::POLL_DEFAULT,
            hints: Some(Self::HINTS_DEFAULT),
            keep_read: Some(Self::KEEP_READ_DEFAULT),
        };
        Self { address: address.parse(), connector: None, schema: "millpond".to_owned(), settings }
    }

    /// With this address and these options instead of those of the text.
    pub fn config(mut self, config: Config) -> Self {
        self.address = Ok(config);
        self
    }

    /// With this connector for TLS, such as that of `postgres-native-tls`. Whether TLS is used is said by the `sslmode` of the address:
    /// `disable`, `prefer` (also if nothing is said) or `require`.
    pub fn tls<T>(mut self, connector: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        self.connector = Some(Ok(Arc::new(connector)));
        self
    }

    /// With TLS by rustls. The server's certificate is verified with those that the system trusts.
    /// `sslmode=require` of the address makes sure that TLS is used.
    #[cfg(feature = "rustls")]
    pub fn rustls(mut self) -> Self {
        let connector = crate::rustls::Rustls::of_system();
        self.connector = Some(connector.map(|connector| Arc::new(connector) as Arc<dyn Connector>));
        self
    }

    /// With TLS by rustls, as this says: other certificates to trust, or one of the client. Only a name in the server's certificate that
    /// is the address's host is taken.
    #[cfg(feature = "rustls")]
    pub fn rustls_with(mut self, config: Arc<crate::rustls_crate::ClientConfig>) -> Self {
        self.connector = Some(Ok(Arc::new(crate::rustls::Rustls(config.into()))));
        self
    }

    /// The schema in which the tables are: `millpond` if nothing is said. 1 to 63 of `a-z`, `0-9` and `_`.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// The most bytes of a job's payload and headers together: 1 KiB to [`ENVELOPE_BYTES_MAX`](Self::ENVELOPE_BYTES_MAX). A larger job
    /// is a dead letter of its sender.
    pub fn envelope_bytes(mut self, bytes: usize) -> Self {
        self.settings.envelope_bytes = bytes;
        self
    }

    /// The most jobs that are appended at once: 1 to [`BATCH_MAX`](Self::BATCH_MAX).
    pub fn batch(mut self, jobs: usize) -> Self {
        self.settings.batch = jobs;
        self
    }

    /// How often a mailbox or a shared queue without jobs is looked at: at least every 10 ms, and at most every 500 ms. A hint makes it
    /// sooner.
    pub fn poll(mut self, every: Duration) -> Self {
        self.settings.poll = every.clamp(Duration::from_millis(10), crate::waits::WAIT);
        self
    }

    /// The shortest time between two hints (`NOTIFY`) about the same mailbox or shared queue. `None`: no hints are sent, and who waits
    /// finds jobs when it polls. A hint takes a lock that all transactions of the database with a `NOTIFY` share.
    pub fn hints(mut self, at_least_apart: Option<Duration>) -> Self {
        self.settings.hints = at_least_apart;
        self
    }

    /// How long a receiver keeps jobs of its mailbox that all receivers of their partitions have stored in their files. `None`: for
    /// ever. What was not read is never removed. An older copy of a receiver's file gets again what is still kept.
    pub fn keep_read(mut self, time: Option<Duration>) -> Self {
        self.settings.keep_read = time;
        self
    }

    /// The engine. The server need not answer yet: the first call connects, and so does each one after the connection was lost.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], [`Error::InvalidName`], [`Error::InvalidLimit`], [`Error::NoTls`], [`Error::Certificates`].
    pub fn start(self) -> Result<Postgres, Error> {
        let Self { address, connector, schema, settings } = self;
        let mut config = address.map_err(Error::InvalidAddress)?;
        if !is_valid_schema(&schema) {
            return Err(Error::InvalidName { name: schema });
        }
        in_range("envelope_bytes", settings.envelope_bytes, 1 << 10, Self::ENVELOPE_BYTES_MAX)?;
        in_range("batch", settings.batch, 1, Self::BATCH_MAX)?;
        let connector = match connector {
            Some(connector) => connector?,
            None if config.get_ssl_mode() == SslMode::Require => return Err(Error::NoTls),
            None => Arc::new(NoTls),
        };
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("millpond");
        }
        let has_several = config.get_hosts().len() > 1;
        if has_several && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Ok(Postgres::new(config, connector, schema, settings))
    }
}

fn in_range(limit: &'static str, value: usize, least: usize, most: usize) -> Result<(), Error> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(Error::InvalidLimit { limit, value, least, most }),
    }
}

/// Such a name needs no escapes in SQL.
pub(crate) fn is_valid_schema(name: &str) -> bool {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let begins_well = name.starts_with(|first: char| !first.is_ascii_digit()) && !name.starts_with("pg_");
    (1..=63).contains(&name.len()) && name.bytes().all(is_valid) && begins_well
}
