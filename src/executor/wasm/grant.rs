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

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Follow-up jobs of this kind into this queue; without one, into its own.
    Enqueue { kind: String, queue: Option<String> },
}

impl Grant {
    /// Follow-up jobs of this kind, into the queue of the job at hand.
    pub fn enqueue(kind: impl Into<String>) -> Self {
        Self { what: What::Enqueue { kind: kind.into(), queue: None } }
    }

    /// The same into another queue. It may be granted for several, one by one.
    pub fn to_queue(mut self, queue: impl Into<String>) -> Self {
        let What::Enqueue { queue: into, .. } = &mut self.what;
        *into = Some(queue.into());
        self
    }

    pub(super) fn check(&self) -> Result<(), PluginError> {
        let What::Enqueue { kind, queue } = &self.what;
        let names = [("kind", Some(kind)), ("queue", queue.as_ref())];
        for (what, name) in names {
            if let Some(Err(error)) = name.map(|name| check_name(what, name)) {
                return Err(PluginError::Misconfigured { what: "grant `enqueue`", reason: error.to_string() });
            }
        }
        Ok(())
    }
}
