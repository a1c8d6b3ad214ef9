//! What the application hides of payloads and results.

use std::sync::Arc;

use serde_json::Value;

/// Gets the queue, the kind and a payload or result in JSON, and replaces what nobody is to see.
type Hide = dyn Fn(&str, &str, &mut Value) + Send + Sync;

/// The application's hook, or none.
#[derive(Clone, Default)]
pub(super) struct Redact(Option<Arc<Hide>>);

/// A payload or a result after the hook.
pub(super) enum Seen {
    /// It may be shown as it is.
    AsItIs,
    /// This may be shown in its place.
    Passed {
        value: Value,
        /// The hook has changed something.
        is_changed: bool,
    },
    /// Nothing of it may be shown: the hook gets JSON only.
    Hidden,
}

impl Redact {
    pub fn with(hide: impl Fn(&str, &str, &mut Value) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hide)))
    }

    /// Whether there is a hook.
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// What may be seen of these bytes.
    pub fn seen(&self, queue: &str, kind: &str, bytes: &[u8]) -> Seen {
        let Some(hide) = &self.0 else { return Seen::AsItIs };
        // The bytes themselves are never shown: of a name that is there twice, the hook sees only the last value.
        let Ok(value) = serde_json::from_slice::<Value>(bytes) else { return Seen::Hidden };
        let mut shown = value.clone();
        hide(queue, kind, &mut shown);
        Seen::Passed { is_changed: shown != value, value: shown }
    }
}
