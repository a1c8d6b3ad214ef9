//! One HTTP round trip, to hosts that the operator has granted. Unstable: it may still change. The operator
//! opts in by granting hosts.
//!
//! ```no_run
//! use millpond_guest::{Error, Result, http};
//!
//! fn notify(event: String) -> Result {
//!     let response = http::Request::post("https://hooks.example.org/in", event).send()?;
//!     match response.status {
//!         200..=299 => Ok(()),
//!         status => Err(Error::retry(format_args!("the hook answered {status}"))),
//!     }
//! }
//! ```

use std::fmt;
use std::time::Duration;

use crate::host;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is sent by `send()`"]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Absolute, `http` or `https`.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What is sent.
    pub body: Vec<u8>,
    /// For the whole round trip; none: the host's limit.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A `GET` of `url`.
    pub fn get(url: &str) -> Self {
        Self { method: "GET".into(), url: url.into(), headers: Vec::new(), body: Vec::new(), timeout: None }
    }

    /// A `POST` of `body` to `url`.
    pub fn post(url: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { method: "POST".into(), body: body.into(), ..Self::get(url) }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sends it and waits for the response.
    ///
    /// # Errors
    /// Why there is no response. A status of 400 and above is a response.
    pub fn send(self) -> Result<Response, Error> {
        host::http_send(self)
    }
}

/// What was answered, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What was received.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Scheme, host or port is not granted, or the name led to a private address.
    AccessDenied,
    /// The request itself is malformed.
    InvalidRequest(String),
    /// Nothing complete came in time.
    Timeout,
    /// Name, connection or TLS failed.
    Connection(String),
    /// The response is too long.
    ResponseTooLarge,
    /// Anything else, said in words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("this handler may not send requests there"),
            Self::InvalidRequest(what) => write!(f, "the request is malformed: {what}"),
            Self::Timeout => f.write_str("the request took too long"),
            Self::Connection(what) => write!(f, "the connection failed: {what}"),
            Self::ResponseTooLarge => f.write_str("the response is longer than the host allows"),
            Self::Other(what) => write!(f, "the request failed: {what}"),
        }
    }
}

impl std::error::Error for Error {}
