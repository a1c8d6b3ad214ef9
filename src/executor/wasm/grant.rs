//! What an operator allows a plugin to do beyond its own job.

use std::fmt;

#[cfg(feature = "wasm-http")]
use super::http::Allow;
use crate::error::PluginError;
use crate::job::check_name;

/// Something that a plugin is allowed to do beyond its own job. Without grants a plugin can compute, log, store
/// the steps of its job and keep its own state, and nothing else.
///
/// ```
/// use millpond::Grant;
///
/// let resize = Grant::enqueue("resize").to_queue("images");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Grant {
    pub(super) what: What,
}

/// A grant to enqueue follow-up jobs, from [`Grant::enqueue`]. [`to_queue`](Self::to_queue) names their queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct EnqueueGrant {
    kind: String,
    queue: Option<String>,
}

impl EnqueueGrant {
    /// Grants the jobs into this queue, instead of the queue of the running job. To allow several queues, add a grant
    /// for each.
    pub fn to_queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }
}

impl From<EnqueueGrant> for Grant {
    fn from(EnqueueGrant { kind, queue }: EnqueueGrant) -> Self {
        Self { what: What::Enqueue { kind, queue } }
    }
}

/// A grant to append entries, from [`Grant::append`]. [`to_stream`](Self::to_stream) completes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct AppendGrant {
    kind: String,
}

impl AppendGrant {
    /// Grants the entries in this stream. To allow several streams, add a grant for each.
    pub fn to_stream(self, stream: impl Into<String>) -> Grant {
        Grant { what: What::Append { kind: self.kind, stream: stream.into() } }
    }
}

/// A grant to publish messages, from [`Grant::publish`]. [`to_topic`](Self::to_topic) completes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct PublishGrant {
    kind: String,
}

impl PublishGrant {
    /// Grants the messages to this topic, with any routing key: they go into each queue and each stream that is bound to it. To
    /// allow several topics, add a grant for each.
    pub fn to_topic(self, topic: impl Into<String>) -> Grant {
        Grant { what: What::Publish { kind: self.kind, topic: topic.into() } }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Follow-up jobs of this kind into this queue, or into the queue of the running job if it is `None`.
    Enqueue { kind: String, queue: Option<String> },
    /// Entries of this kind in this stream.
    Append { kind: String, stream: String },
    /// Messages of this kind to this topic.
    Publish { kind: String, topic: String },
    /// Rate limits, which hold other jobs of the queue back.
    RateLimit,
    /// The results of the other jobs of the job's flow.
    FlowResults,
    /// Requests to these hosts.
    #[cfg(feature = "wasm-http")]
    Http(Allow),
    /// What the plugin prints is logged.
    #[cfg(feature = "wasm-wasi")]
    Stdio,
}

/// What the grant allows, in words: `enqueue "resize" into "images"`.
impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Enqueue { kind, queue: Some(queue) } => write!(f, "enqueue {kind:?} into {queue:?}"),
            What::Enqueue { kind, queue: None } => write!(f, "enqueue {kind:?} into the queue of its job"),
            What::Append { kind, stream } => write!(f, "append {kind:?} to the stream {stream:?}"),
            What::Publish { kind, topic } => write!(f, "publish {kind:?} to the topic {topic:?}"),
            What::RateLimit => f.write_str("limit rates"),
            What::FlowResults => f.write_str("read the results of its flow"),
            #[cfg(feature = "wasm-http")]
            What::Http(allow) => write!(f, "send requests to {allow}"),
            #[cfg(feature = "wasm-wasi")]
            What::Stdio => f.write_str("print"),
        }
    }
}

impl Grant {
    /// Allows follow-up jobs of this kind, into the queue of the running job or [another
    /// queue](EnqueueGrant::to_queue).
    pub fn enqueue(kind: impl Into<String>) -> EnqueueGrant {
        EnqueueGrant { kind: kind.into(), queue: None }
    }

    /// Allows entries of this kind in a [stream](AppendGrant::to_stream). They are appended in the commit of the job's completion.
    ///
    /// ```
    /// let totals = millpond::Grant::append("total").to_stream("totals");
    /// assert_eq!(totals.to_string(), r#"append "total" to the stream "totals""#);
    /// ```
    pub fn append(kind: impl Into<String>) -> AppendGrant {
        AppendGrant { kind: kind.into() }
    }

    /// Allows messages of this kind to a [topic](PublishGrant::to_topic). They are published in the commit of the job's completion.
    ///
    /// ```
    /// let shipped = millpond::Grant::publish("shipped").to_topic("orders");
    /// assert_eq!(shipped.to_string(), r#"publish "shipped" to the topic "orders""#);
    /// ```
    pub fn publish(kind: impl Into<String>) -> PublishGrant {
        PublishGrant { kind: kind.into() }
    }

    /// Allows the plugin to say that a service has limited its rate, as [`Outcome::rate_limited`](crate::Outcome::rate_limited)
    /// and [`rate_limited_queue`](crate::Outcome::rate_limited_queue) of a Rust handler do. That holds other jobs of the queue or
    /// group back, also those of other kinds, for at most [`PluginLimits::rate_limit_time`](crate::PluginLimits::rate_limit_time).
    /// Without this grant only the plugin's own job waits.
    ///
    /// ```
    /// let limited = millpond::Grant::rate_limit();
    /// ```
    pub fn rate_limit() -> Self {
        Self { what: What::RateLimit }
    }

    /// Allows the plugin to read what the other jobs of its job's flow have returned, and what came with the flow's signals, as
    /// [`Context::result`](crate::Context::result) of a Rust handler does.
    ///
    /// ```
    /// let results = millpond::Grant::flow_results();
    /// ```
    pub fn flow_results() -> Self {
        Self { what: What::FlowResults }
    }

    /// Allows HTTP requests to these hosts, through the contract's interface `outbound-http`, which may still change.
    /// To allow several, add a grant for each. Feature `wasm-http`.
    ///
    /// ```
    /// use millpond::{Allow, Grant};
    ///
    /// let hooks = Grant::http(Allow::https("*.hooks.example.org"));
    /// ```
    #[cfg(feature = "wasm-http")]
    pub fn http(allow: Allow) -> Self {
        Self { what: What::Http(allow) }
    }

    /// Allows standard output and standard error of WASI. What the plugin prints is logged line by line, within the
    /// limits of its log. If an attempt breaks, its error contains the end of what it wrote to standard error. The
    /// other WASI interfaces that such a plugin imports exist but are empty: there are no arguments, environment
    /// variables, files or sockets. Feature `wasm-wasi`.
    ///
    /// ```
    /// let prints = millpond::Grant::stdio();
    /// ```
    #[cfg(feature = "wasm-wasi")]
    pub fn stdio() -> Self {
        Self { what: What::Stdio }
    }

    pub(super) fn is_rate_limit(&self) -> bool {
        matches!(self.what, What::RateLimit)
    }

    pub(super) fn is_flow_results(&self) -> bool {
        matches!(self.what, What::FlowResults)
    }

    /// The hosts that this grant allows, if it is one for HTTP.
    #[cfg(feature = "wasm-http")]
    pub(super) fn allows(&self) -> Option<&Allow> {
        match &self.what {
            What::Http(allow) => Some(allow),
            _ => None,
        }
    }

    #[cfg(feature = "wasm-http")]
    pub(super) fn is_http(&self) -> bool {
        matches!(self.what, What::Http(_))
    }

    #[cfg(not(feature = "wasm-http"))]
    pub(super) fn is_http(&self) -> bool {
        false
    }

    #[cfg(feature = "wasm-wasi")]
    pub(super) fn is_stdio(&self) -> bool {
        matches!(self.what, What::Stdio)
    }

    #[cfg(not(feature = "wasm-wasi"))]
    pub(super) fn is_stdio(&self) -> bool {
        false
    }

    /// # Errors
    /// A kind, a queue or a host in the grant is not valid.
    pub(super) fn check(&self) -> Result<(), PluginError> {
        match &self.what {
            What::Enqueue { kind, queue } => names("grant `enqueue`", kind, "queue", queue.as_deref()),
            What::Append { kind, stream } => names("grant `append`", kind, "stream", Some(stream)),
            What::Publish { kind, topic } => names("grant `publish`", kind, "topic", Some(topic)),
            What::RateLimit | What::FlowResults => Ok(()),
            #[cfg(feature = "wasm-http")]
            What::Http(allow) => {
                allow.check().map_err(|reason| PluginError::Misconfigured { what: "grant `http`", reason })
            }
            #[cfg(feature = "wasm-wasi")]
            What::Stdio => Ok(()),
        }
    }
}

/// # Errors
/// The kind or the name of where it goes is not valid.
fn names(grant: &'static str, kind: &str, what: &'static str, to: Option<&str>) -> Result<(), PluginError> {
    let checked = check_name("kind", kind).and_then(|()| to.map_or(Ok(()), |to| check_name(what, to)));
    checked.map_err(|error| PluginError::Misconfigured { what: grant, reason: error.to_string() })
}
