//! What a plugin may do beyond its own job.

#[cfg(feature = "wasm-http")]
use super::http::Allow;
use crate::error::PluginError;
use crate::job::check_name;

/// What a plugin may do beyond its own job. Without grants it can compute, log, keep state of its own, and
/// nothing else.
///
/// ```
/// use millpond::Grant;
///
/// let resize = Grant::enqueue("resize").to_queue("images");
/// # let _ = resize;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Grant {
    pub(super) what: What,
}

/// [`Grant::enqueue`], which may name a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct EnqueueGrant {
    kind: String,
    queue: Option<String>,
}

impl EnqueueGrant {
    /// Into this queue, instead of the queue of the job at hand. It may be granted for several, one by one.
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Follow-up jobs of this kind into this queue; without one, into its own.
    Enqueue { kind: String, queue: Option<String> },
    /// Requests to these hosts.
    #[cfg(feature = "wasm-http")]
    Http(Allow),
    /// What it prints is logged.
    #[cfg(feature = "wasm-wasi")]
    Stdio,
}

impl Grant {
    /// Follow-up jobs of this kind, into the queue of the job at hand or [another](EnqueueGrant::to_queue).
    pub fn enqueue(kind: impl Into<String>) -> EnqueueGrant {
        EnqueueGrant { kind: kind.into(), queue: None }
    }

    /// Requests over HTTP to such hosts: the contract's `outbound-http`, which may still change. It may be granted for several,
    /// one by one. Feature `wasm-http`.
    ///
    /// ```
    /// use millpond::{Allow, Grant};
    ///
    /// let hooks = Grant::http(Allow::https("*.hooks.example.org"));
    /// # let _ = hooks;
    /// ```
    #[cfg(feature = "wasm-http")]
    pub fn http(allow: Allow) -> Self {
        Self { what: What::Http(allow) }
    }

    /// Standard output and error, as WASI has them: what the plugin prints is logged line by line, within the limits of its log, and
    /// the end of what it wrote to standard error is told with an attempt that breaks. What else of WASI such a plugin imports is
    /// there and has nothing in it: no arguments, environment, files or sockets. Feature `wasm-wasi`.
    ///
    /// ```
    /// let prints = millpond::Grant::stdio();
    /// # let _ = prints;
    /// ```
    #[cfg(feature = "wasm-wasi")]
    pub fn stdio() -> Self {
        Self { what: What::Stdio }
    }

    /// The hosts that it grants.
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

    pub(super) fn check(&self) -> Result<(), PluginError> {
        let wrong = |what, reason| Err(PluginError::Misconfigured { what, reason });
        match &self.what {
            What::Enqueue { kind, queue } => {
                let names = [("kind", Some(kind)), ("queue", queue.as_ref())];
                for (what, name) in names {
                    if let Some(Err(error)) = name.map(|name| check_name(what, name)) {
                        return wrong("grant `enqueue`", error.to_string());
                    }
                }
                Ok(())
            }
            #[cfg(feature = "wasm-http")]
            What::Http(allow) => allow.check().or_else(|reason| wrong("grant `http`", reason)),
            #[cfg(feature = "wasm-wasi")]
            What::Stdio => Ok(()),
        }
    }
}
