//! Connects to a server.

use std::time::Duration;

use async_nats::ConnectOptions;

use crate::error::Error;
use crate::jetstream::JetStream;

/// How long a call waits for its answer.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A connection that is to be made.
#[must_use = "nothing is connected before it is started"]
pub struct Connect {
    address: String,
    options: ConnectOptions,
    stream: String,
    replicas: usize,
}

impl Connect {
    pub(crate) fn to(address: &str) -> Self {
        let (options, stream) = (ConnectOptions::new(), "MP".to_owned());
        Self { address: address.to_owned(), options, stream, replicas: 1 }
    }

    /// With these options: TLS, credentials, delays between attempts to connect. The connection is retried in the background, and a call
    /// waits five seconds for its answer, whatever the options say.
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = options;
        self
    }

    /// The stream in which the mailboxes are: `MP` if nothing is said. 1 to 32 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = name.into();
        self
    }

    /// On how many servers the stream is stored, if it is made now: 1 if nothing is said.
    pub fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// Begins to connect. The server need not answer yet: [`JetStream::check`] tells whether it does.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::Connect`] if the address cannot be read.
    pub async fn start(self) -> Result<JetStream, Error> {
        let Self { address, options, stream, replicas } = self;
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=32).contains(&stream.len()) || !stream.bytes().all(is_valid) {
            return Err(Error::InvalidName { name: stream });
        }
        let options = options.retry_on_initial_connect().request_timeout(Some(ANSWER_MAX));
        let addresses: Vec<&str> = address.split(',').collect();
        let client = options.connect(addresses).await?;
        Ok(JetStream::new(client, stream, replicas))
    }
}
